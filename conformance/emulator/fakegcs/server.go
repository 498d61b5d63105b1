package fakegcs

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"
)

// Options say what a Server is like.
type Options struct {
	Dir       string           // an empty folder for the bytes of objects, which the caller removes
	Now       func() time.Time // the server's clock; nil is the system's
	Anonymous bool             // whether requests need no token, as with emulators
}

// A Server is an http.Handler. It is safe for concurrent use.
type Server struct {
	options Options

	mu       sync.Mutex
	buckets  map[string]*bucket
	sessions map[string]*session
	denied   map[string]bool      // permissions
	projects map[string]bool      // that may be billed; nil: all
	accounts map[string]*account  // by e-mail address
	subjects map[string]bool      // tokens of other issuers that are taken
	tokens   map[string]time.Time // by value: when they end
	last     int64                // generation
	files    int                  // that were made
	held     int64                // bytes in files that are there
}

// New returns a server without a bucket.
func New(o Options) (*Server, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if info, err := os.Stat(o.Dir); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("no folder %q: %w", o.Dir, err)
	}
	return &Server{
		options: o, buckets: map[string]*bucket{}, sessions: map[string]*session{}, denied: map[string]bool{},
		accounts: map[string]*account{}, subjects: map[string]bool{}, tokens: map[string]time.Time{},
	}, nil
}

// Deny takes permissions, such as storage.objects.delete, from everybody, and gives
// all others back.
func (s *Server) Deny(permissions ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.denied = map[string]bool{}
	for _, p := range permissions {
		s.denied[p] = true
	}
}

// Bill names the projects that X-Goog-User-Project may name.
func (s *Server) Bill(projects ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.projects = map[string]bool{}
	for _, p := range projects {
		s.projects[p] = true
	}
}

// Held is how many bytes it holds, of objects and of sessions. What several objects
// share counts once.
func (s *Server) Held() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held
}

// Sessions are the names that resumable sessions are for, below a prefix, which are
// neither complete nor cancelled.
func (s *Server) Sessions(bucket, prefix string) (names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.sessions {
		if !u.over && u.bucket.name == bucket && strings.HasPrefix(u.asked.Name, prefix) {
			names = append(names, u.asked.Name)
		}
	}
	return names
}

// A request is one on its way.
type request struct {
	*http.Request
	server  *Server
	query   url.Values
	media   bool // whether the answer is bytes, and an error a line of text
	trusted bool
}

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.serve(w, r, false) }

func (s *Server) serve(w http.ResponseWriter, r *http.Request, trusted bool) {
	q := &request{Request: r, server: s, query: r.URL.Query(), trusted: trusted}
	q.media = q.query.Get("alt") == "media"
	w.Header().Set("X-Guploader-Uploadid", newID())
	if err := q.answer(w); err != nil {
		q.refuse(w, err)
	}
}

func newID() string { return rand.Text() }

// answer finds out what is asked for.
func (q *request) answer(w http.ResponseWriter) error {
	path := strings.TrimPrefix(q.URL.EscapedPath(), "/")
	switch path {
	case "token":
		return q.giveToken(w)
	case "sts":
		return q.exchangeToken(w)
	}
	upload := strings.HasPrefix(path, "upload/")
	path = strings.TrimPrefix(strings.TrimPrefix(path, "upload/"), "download/")
	rest, ok := strings.CutPrefix(path, "storage/v1/b/")
	if !ok {
		return notFound("Not Found")
	}
	var words []string
	for word := range strings.SplitSeq(rest, "/") {
		decoded, err := url.PathUnescape(word)
		if err != nil {
			return invalid("the path is badly encoded")
		}
		words = append(words, decoded)
	}
	id := q.query.Get("upload_id")
	if upload && id != "" && q.Header.Get("Authorization") == "" && q.Header.Get(projectHeader) == "" {
		return q.session(w, id) // which is all that a session asks for
	}
	if err := q.authenticate(); err != nil {
		return err
	}
	if upload && id != "" {
		if err := q.pays(words[0]); err != nil {
			return err
		}
		return q.session(w, id)
	}
	return q.route(w, upload, words)
}

func (q *request) route(w http.ResponseWriter, upload bool, words []string) error {
	method, bucket := q.Method, words[0]
	switch {
	case len(words) == 1 && method == http.MethodGet:
		return q.getBucket(w, bucket)
	case len(words) == 3 && words[1] == "iam" && words[2] == "testPermissions" && method == http.MethodGet:
		return q.testPermissions(w, bucket)
	case len(words) == 2 && words[1] == "o" && upload && method == http.MethodPost:
		return q.insert(w, bucket)
	case len(words) == 2 && words[1] == "o" && method == http.MethodGet:
		return q.list(w, bucket)
	case len(words) == 3 && words[1] == "o" && method == http.MethodGet:
		return q.get(w, bucket, words[2])
	case len(words) == 3 && words[1] == "o" && method == http.MethodDelete:
		return q.delete(w, bucket, words[2])
	case len(words) == 4 && words[1] == "o" && words[3] == "compose" && method == http.MethodPost:
		return q.compose(w, bucket, words[2])
	}
	return notFound("Not Found")
}

// allowed says whether the caller has a permission, on a bucket or an object.
// The server is locked.
func (q *request) allowed(permission, on string) error {
	if q.trusted || !q.server.denied[permission] {
		return nil
	}
	return &refusal{http.StatusForbidden, "forbidden", fmt.Sprintf(
		"tester@fake.iam.gserviceaccount.com does not have %s access to the Google Cloud Storage %s. Permission '%s' denied on resource (or it may not exist).", permission, on, permission)}
}

// A refusal is an error as the API says it.
type refusal struct {
	status  int
	reason  string
	message string
}

func (r *refusal) Error() string { return r.message }

func notFound(message string) error { return &refusal{http.StatusNotFound, "notFound", message} }

func invalid(format string, args ...any) error {
	return &refusal{http.StatusBadRequest, "invalid", fmt.Sprintf(format, args...)}
}

func noBucket() error { return notFound("The specified bucket does not exist.") }

func noObject(bucket, name string) error {
	return notFound(fmt.Sprintf("No such object: %s/%s", bucket, name))
}

func conditionNotMet() error {
	return &refusal{http.StatusPreconditionFailed, "conditionNotMet", "At least one of the pre-conditions you specified did not hold."}
}

// refuse writes an error, as text where bytes were asked for.
func (q *request) refuse(w http.ResponseWriter, err error) {
	r, ok := err.(*refusal)
	if !ok {
		r = &refusal{http.StatusInternalServerError, "internalError", err.Error()}
	}
	if q.media {
		w.Header().Set("Content-Type", "text/html; charset=UTF-8")
		w.WriteHeader(r.status)
		_, _ = fmt.Fprint(w, r.message) // whoever asked may be gone
		return
	}
	type item struct {
		Message string `json:"message"`
		Domain  string `json:"domain"`
		Reason  string `json:"reason"`
	}
	type body struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Errors  []item `json:"errors"`
	}
	writeJSON(w, r.status, map[string]body{"error": {r.status, r.message, []item{{r.message, "global", r.reason}}}})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // whoever asked may be gone
}

// Trusted is the server to those who need neither token nor right.
func (s *Server) Trusted() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, true) })
}
