package object

import (
	"context"
	"errors"
	"io"
	"iter"
	"sync"

	"github.com/minio/crc64nvme"

	"github.com/offsite-backup/offsite/core"
)

const (
	// ahead is how many metadata documents a list fetches before they are asked for.
	ahead = 16
	// window is how many objects are listed before they are asked for: a page of most
	// providers.
	window = 1000
)

// List yields every backup in the order of core.ID.Compare.
//
// It walks the metadata and the archives side by side, so that a document
// without an archive, or with one of another size, is found without a request for
// each.
func (a *Agent) List(ctx context.Context) iter.Seq2[core.Backup, error] {
	return func(yield func(core.Backup, error) bool) {
		c, err := a.begin(ctx, opList, "")
		if err != nil {
			yield(core.Backup{}, err)
			return
		}
		l := &list{call: c, results: make(chan chan listed, ahead), before: a.cache.read()}
		l.now = a.cache.write(l.before)
		inner, stop := context.WithCancel(c.Context)
		go l.produce(inner)
		through := false
		defer func() {
			stop()
			for r := range l.results {
				<-r
			}
			if err := l.now.end(through); err != nil {
				a.env.Log.Debug("metadata is not cached", "agent", a.Name(), "error", err)
			}
		}()
		through = l.deliver(yield)
	}
}

// A list is one walk over a place.
type list struct {
	*call
	results chan chan listed // in order; each gets one
	before  *cacheReader     // for produce
	now     *cacheWriter     // for deliver
	whole   bool             // whether the walk reached the end; read after results is closed
}

type listed struct {
	cached // its document, where it was understood
	backup core.Backup
	err    error
	skip   bool // deleted while the list was read
}

// ends says that it is the error that ends the list.
func (l listed) ends() bool { return l.err != nil && l.backup.ID == "" }

// deliver hands on what is found, in order, and says whether that was all there is.
func (l *list) deliver(yield func(core.Backup, error) bool) bool {
	for r := range l.results {
		got := <-r
		if got.skip {
			continue
		}
		if got.err != nil {
			l.id = got.backup.ID
			got.err = l.error(got.err)
		}
		if !yield(got.backup, got.err) || got.ends() {
			return false
		}
		l.now.keep(got.cached)
	}
	if !l.whole { // the walk was ended between two documents
		yield(core.Backup{}, l.error(context.Cause(l)))
	}
	return l.whole
}

// produce walks the place and fetches documents ahead of the caller. It ends the
// call, not the caller, who may close the agent in the middle of a list.
func (l *list) produce(ctx context.Context) {
	defer l.end()
	defer close(l.results)
	var workers sync.WaitGroup
	fetches := make(chan fetch)
	defer workers.Wait()
	defer close(fetches)
	for range ahead { // that stay: each has a stack as deep as a provider's library
		workers.Go(func() {
			for f := range fetches {
				f.result <- l.agent.entry(ctx, f.document)
			}
		})
	}
	for doc, err := range l.agent.documents(ctx) {
		result := make(chan listed, 1)
		select {
		case l.results <- result:
		case <-ctx.Done():
			return
		}
		if err != nil {
			result <- listed{err: err}
			return
		}
		doc.cached = l.before.of(doc.id, doc.meta)
		fetches <- fetch{doc, result} // workers end with ctx
	}
	l.whole = true
}

// A fetch is a document that is to be read.
type fetch struct {
	document
	result chan<- listed
}

// A document is a metadata document as the place lists it, with the archives of
// its id, and as it is cached.
type document struct {
	id       core.ID
	meta     Object
	archives []Object
	cached   cached
}

// documents joins the lists of metadata and of archives, which have one order. Both are
// made at once, each ahead of the other, from the first document on: without one, the
// archives are not asked for.
func (a *Agent) documents(ctx context.Context) iter.Seq2[document, error] {
	return func(yield func(document, error) bool) {
		ctx, stop := context.WithCancel(ctx)
		var both sync.WaitGroup
		defer both.Wait()
		defer stop()
		var data *stream
		for metas := a.stream(ctx, &both, metaPrefix); metas.peek() || metas.err != nil; metas.have = false {
			doc, err := document{id: metaID(metas.head.Key), meta: metas.head}, metas.err
			if err == nil && doc.id == "" {
				continue
			}
			if data == nil && err == nil {
				data = a.stream(ctx, &both, dataPrefix)
			}
			if err == nil {
				doc.archives, err = data.of(doc.id)
			}
			if !yield(doc, err) || err != nil {
				return
			}
		}
	}
}

// A stream is a list of objects, made ahead of who reads it.
type stream struct {
	context.Context
	found chan found
	head  Object // the next one, where have
	have  bool
	err   error // that ended it
}

type found struct {
	Object
	err error
}

// stream lists what is below a prefix, until ctx ends; then running is done.
func (a *Agent) stream(ctx context.Context, running *sync.WaitGroup, prefix string) *stream {
	s := &stream{Context: ctx, found: make(chan found, window)}
	running.Go(func() {
		defer close(s.found)
		for o, err := range a.store.List(ctx, prefix, "") {
			select {
			case s.found <- found{o, err}:
			case <-ctx.Done():
				return
			}
		}
	})
	return s
}

// peek waits for the next one unless it is there.
func (s *stream) peek() bool {
	if s.have || s.err != nil {
		return s.have
	}
	next, ok := <-s.found
	s.head, s.err = next.Object, next.err
	if !ok {
		s.err = context.Cause(s) // else a list that was ended would seem to be whole
	}
	s.have = ok && s.err == nil
	return s.have
}

// of returns the archives of id and passes over those before; ids are asked for
// in order.
func (s *stream) of(id core.ID) (found []Object, err error) {
	for ; s.peek(); s.have = false {
		if have := dataID(s.head.Key); have == id {
			found = append(found, s.head)
		} else if have != "" && have.Compare(id) > 0 {
			break
		}
	}
	return found, s.err
}

// entry reads one document of a list.
func (a *Agent) entry(ctx context.Context, doc document) listed {
	b, known, err := a.document(ctx, doc)
	if errors.Is(err, core.ErrNotFound) {
		return listed{skip: true}
	}
	if err == nil {
		_, err = a.archiveOf(ctx, b, doc.archives)
	}
	if errors.Is(err, errNoArchive) {
		// Deleted between the two lists, or damaged.
		if _, e := a.store.Stat(ctx, doc.meta.Key); errors.Is(e, core.ErrNotFound) {
			return listed{skip: true}
		}
	}
	if err != nil {
		b = core.Backup{ID: doc.id}
	}
	return listed{cached: known, backup: b, err: err}
}

// document returns the metadata of a document that was listed, from the cache where it
// has that. What is not understood is not cached: it may be read better next time.
func (a *Agent) document(ctx context.Context, doc document) (core.Backup, cached, error) {
	if doc.cached.doc != nil {
		if b, err := core.DecodeBackup(doc.id, doc.cached.doc); err == nil {
			return b, doc.cached, nil
		}
	}
	b, text, err := a.read(ctx, doc.id, doc.meta)
	if err != nil {
		return core.Backup{}, cached{}, err
	}
	return b, cached{id: doc.id, version: doc.meta.Version, doc: text}, nil
}

var errNoArchive = errors.New("the archive is not there")

// archiveOf finds the archive that b names, in a list that may have been made
// before the archive was, or at the place, and compares its size.
func (a *Agent) archiveOf(ctx context.Context, b core.Backup, known []Object) (o Object, err error) {
	for _, o = range known {
		if o.Key == b.Archive {
			break
		}
	}
	if o.Key != b.Archive {
		o, err = a.store.Stat(ctx, b.Archive)
	}
	switch {
	case errors.Is(err, core.ErrNotFound):
		return o, core.Errorf(core.ErrDamaged, "%s: %w", b.Archive, errNoArchive)
	case err == nil && o.Size != b.Size:
		return o, core.Errorf(core.ErrDamaged, "%s has %d bytes, its metadata says %d", b.Archive, o.Size, b.Size)
	}
	return o, err
}

// read returns the metadata that o holds, and its document.
func (a *Agent) read(ctx context.Context, id core.ID, o Object) (b core.Backup, doc []byte, err error) {
	if o.Size > core.MaxMetadata {
		return b, nil, core.Errorf(core.ErrDamaged, "metadata of %d bytes", o.Size)
	}
	if doc, err = a.bytes(ctx, o); err == nil {
		b, err = core.DecodeBackup(id, doc)
	}
	return b, doc, err
}

// bytes reads a small object whole, and compares it with its checksum where the place
// has told that.
func (a *Agent) bytes(ctx context.Context, o Object) ([]byte, error) {
	if o.Size == 0 {
		return nil, nil
	}
	r, err := a.store.Range(ctx, o, 0, o.Size)
	if err != nil {
		return nil, err
	}
	doc := make([]byte, o.Size)
	_, err = io.ReadFull(r, doc)
	err = errors.Join(err, r.Close())
	if err == nil && o.Summed && core.CRC64(crc64nvme.Checksum(doc)) != o.Sum {
		err = core.Errorf(core.ErrDamaged, "%s has other bytes than those of its checksum", o.Key)
	}
	return doc, err
}

// Get returns the metadata of one backup, or core.ErrNotFound.
func (a *Agent) Get(ctx context.Context, id core.ID) (core.Backup, error) {
	c, err := a.begin(ctx, opGet, id)
	if err != nil {
		return core.Backup{}, err
	}
	defer c.end()
	b, _, err := c.find()
	return b, c.error(err)
}

// find reads the metadata of the call's id and finds its archive.
func (c *call) find() (core.Backup, Object, error) {
	if err := c.id.Validate(); err != nil {
		return core.Backup{}, Object{}, err
	}
	meta, err := c.agent.store.Stat(c, metaKey(c.id))
	if err != nil {
		return core.Backup{}, Object{}, err
	}
	b, _, err := c.agent.read(c, c.id, meta)
	if err != nil {
		return core.Backup{}, Object{}, err
	}
	o, err := c.agent.archiveOf(c, b, nil)
	if errors.Is(err, errNoArchive) {
		if _, e := c.agent.store.Stat(c, meta.Key); errors.Is(e, core.ErrNotFound) {
			err = e // deleted meanwhile
		}
	}
	if err != nil {
		return core.Backup{}, Object{}, err
	}
	return b, o, nil
}
