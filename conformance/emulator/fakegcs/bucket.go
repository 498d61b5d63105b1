package fakegcs

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Bucket is what a bucket is like.
type Bucket struct {
	StorageClass    string        // of objects that name none; "" is STANDARD
	Retention       time.Duration // how long each object is kept at least
	ObjectRetention bool          // whether objects may have a retention of their own
	EventBasedHold  bool          // whether each new object is held
	Versioning      bool          // whether what is replaced or deleted stays as an older generation
	RequesterPays   bool          // whether requests have to name a project

	// What it says of itself, and does not do.
	SoftDelete time.Duration   // how long what is deleted can be restored
	Lifecycle  json.RawMessage // as the API has it; nil is none
}

type bucket struct {
	Bucket
	name  string
	live  map[string]*object
	names []string             // of live, in order
	older map[string][]*object // generations that are not live
}

// MakeBucket makes a bucket, or gives one that is there other properties.
func (s *Server) MakeBucket(name string, b Bucket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b.StorageClass == "" {
		b.StorageClass = "STANDARD"
	}
	if old := s.buckets[name]; old != nil {
		old.Bucket = b
		return
	}
	s.buckets[name] = &bucket{Bucket: b, name: name, live: map[string]*object{}, older: map[string][]*object{}}
}

// projectHeader names the project that a request is billed to.
const projectHeader = "X-Goog-User-Project"

// pays looks at the project of a request to a session.
func (q *request) pays(bucket string) error {
	q.server.mu.Lock()
	defer q.server.mu.Unlock()
	_, err := q.bucket(bucket)
	return err
}

// bucket finds a bucket that may be asked. The server is locked.
func (q *request) bucket(name string) (*bucket, error) {
	b := q.server.buckets[name]
	if b == nil {
		return nil, noBucket()
	}
	project := q.Header.Get(projectHeader)
	if project == "" {
		project = q.query.Get("userProject")
	}
	switch {
	case project == "" && b.RequesterPays:
		return nil, &refusal{http.StatusBadRequest, "required", "Bucket is a requester pays bucket but no user project provided."}
	case project != "" && q.server.projects != nil && !q.server.projects[project]:
		return nil, &refusal{http.StatusForbidden, "forbidden", "Caller does not have required permission to use project " + project +
			". Grant the caller the roles/serviceusage.serviceUsageConsumer role, or a custom role with the serviceusage.services.use permission."}
	}
	return b, nil
}

func (q *request) getBucket(w http.ResponseWriter, name string) error {
	q.server.mu.Lock()
	defer q.server.mu.Unlock()
	b, err := q.bucket(name)
	if err != nil {
		return err
	}
	if err := q.allowed("storage.buckets.get", "bucket"); err != nil {
		return err
	}
	if q.query.Get("projection") == "full" {
		if err := q.allowed("storage.buckets.getIamPolicy", "bucket"); err != nil {
			return err
		}
	}
	answer := map[string]any{
		"kind": "storage#bucket", "id": name, "name": name, "location": "US", "metageneration": "1",
		"storageClass": b.StorageClass, "defaultEventBasedHold": b.EventBasedHold,
		"versioning": map[string]any{"enabled": b.Versioning}, "billing": map[string]any{"requesterPays": b.RequesterPays},
	}
	if b.Retention > 0 {
		answer["retentionPolicy"] = map[string]any{"retentionPeriod": strconv.Itoa(int(b.Retention / time.Second)), "effectiveTime": stamp(q.server.options.Now())}
	}
	if b.SoftDelete > 0 {
		answer["softDeletePolicy"] = map[string]any{"retentionDurationSeconds": strconv.Itoa(int(b.SoftDelete / time.Second))}
	}
	if b.Lifecycle != nil {
		answer["lifecycle"] = b.Lifecycle
	}
	if b.ObjectRetention {
		answer["objectRetention"] = map[string]any{"mode": "Enabled"}
	}
	writeJSON(w, http.StatusOK, q.partial(answer))
	return nil
}

func (q *request) testPermissions(w http.ResponseWriter, name string) error {
	q.server.mu.Lock()
	defer q.server.mu.Unlock()
	if _, err := q.bucket(name); err != nil {
		return err
	}
	answer := map[string]any{"kind": "storage#testIamPermissionsResponse"}
	granted := slices.DeleteFunc(slices.Clone(q.query["permissions"]), func(p string) bool { return q.server.denied[p] })
	if len(granted) > 0 {
		answer["permissions"] = granted
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// put makes an object the live one of its name.
func (b *bucket) put(s *Server, o *object) {
	if b.live[o.name] == nil {
		i, _ := slices.BinarySearch(b.names, o.name)
		b.names = slices.Insert(b.names, i, o.name)
	}
	b.retire(s, o.name)
	b.live[o.name] = o
}

// remove takes a live object away.
func (b *bucket) remove(s *Server, name string) {
	b.retire(s, name)
	delete(b.live, name)
	if i, ok := slices.BinarySearch(b.names, name); ok {
		b.names = slices.Delete(b.names, i, i+1)
	}
}

// retire keeps the live object of a name as an older generation, or gives up its
// bytes.
func (b *bucket) retire(s *Server, name string) {
	old := b.live[name]
	switch {
	case old == nil:
	case b.Versioning:
		b.older[name] = append(b.older[name], old)
	default:
		s.release(old.content)
	}
}

// find is a generation of an object, or the live one; nil where there is none.
func (b *bucket) find(name string, generation int64) *object {
	if o := b.live[name]; generation == 0 || o != nil && o.generation == generation {
		return o
	}
	for _, o := range b.older[name] {
		if o.generation == generation {
			return o
		}
	}
	return nil
}

// Names are those of the live objects of a bucket that begin with prefix, in order.
func (s *Server) Names(bucket, prefix string) (all []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.buckets[bucket]; b != nil {
		for _, name := range b.names {
			if strings.HasPrefix(name, prefix) {
				all = append(all, name)
			}
		}
	}
	return all
}
