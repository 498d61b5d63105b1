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

// ahead is how many metadata documents a list fetches before they are asked for.
const ahead = 16

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
		l := &list{call: c, results: make(chan chan listed, ahead), seen: map[core.ID]bool{}}
		inner, stop := context.WithCancel(c.Context)
		go l.produce(inner)
		defer func() {
			stop()
			for r := range l.results {
				<-r
			}
		}()
		for r := range l.results {
			got := <-r
			if got.skip {
				continue
			}
			if got.err != nil {
				c.id = got.backup.ID
				got.err = c.error(got.err)
			}
			if !yield(got.backup, got.err) || got.ends() {
				return
			}
		}
		if !l.whole { // the walk was ended between two documents
			yield(core.Backup{}, c.error(context.Cause(c)))
			return
		}
		a.cache.keep(l.seen)
	}
}

// A list is one walk over a place.
type list struct {
	*call
	results chan chan listed // in order; each gets one
	seen    map[core.ID]bool
	whole   bool // whether the walk reached the end; read after results is closed
}

type listed struct {
	backup core.Backup
	err    error
	skip   bool // deleted while the list was read
}

// ends says that it is the error that ends the list.
func (l listed) ends() bool { return l.err != nil && l.backup.ID == "" }

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
		l.seen[doc.id] = true
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
// its id.
type document struct {
	id       core.ID
	meta     Object
	archives []Object
}

// documents joins the lists of metadata and of archives, which have one order.
func (a *Agent) documents(ctx context.Context) iter.Seq2[document, error] {
	return func(yield func(document, error) bool) {
		data := pull(a.store.List(ctx, dataPrefix, ""))
		defer data.stop()
		for meta, err := range a.store.List(ctx, metaPrefix, "") {
			doc := document{id: metaID(meta.Key), meta: meta}
			if err == nil && doc.id == "" {
				continue
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

// archives is a list of archives that is read id by id.
type archives struct {
	next func() (Object, error, bool)
	stop func()
	head Object // the next one, where have
	have bool
	err  error
}

func pull(seq iter.Seq2[Object, error]) *archives {
	next, stop := iter.Pull2(seq)
	return &archives{next: next, stop: stop}
}

// peek reads the next one unless it is there.
func (s *archives) peek() bool {
	if !s.have && s.err == nil {
		s.head, s.err, s.have = s.next()
		s.have = s.have && s.err == nil
	}
	return s.have
}

// of returns the archives of id and passes over those before; ids are asked for
// in order.
func (s *archives) of(id core.ID) (found []Object, err error) {
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
	b, err := a.read(ctx, doc.id, doc.meta)
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
	return listed{backup: b, err: err}
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

// read returns the metadata that o holds.
func (a *Agent) read(ctx context.Context, id core.ID, o Object) (core.Backup, error) {
	if doc, ok := a.cache.get(id, o); ok {
		return core.DecodeBackup(id, doc)
	}
	if o.Size > core.MaxMetadata {
		return core.Backup{}, core.Errorf(core.ErrDamaged, "metadata of %d bytes", o.Size)
	}
	doc, err := a.bytes(ctx, o)
	if err != nil {
		return core.Backup{}, err
	}
	if err := a.cache.put(id, o, doc); err != nil {
		a.env.Log.Debug("metadata is not cached", "agent", a.Name(), "id", id, "error", err)
	}
	return core.DecodeBackup(id, doc)
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
	b, err := c.agent.read(c, c.id, meta)
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
