package conformance

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"time"

	"github.com/offsite-backup/offsite/core"
)

func bytesReader(p []byte) io.Reader { return bytes.NewReader(p) }

// upload uploads and says so.
func (t *trial) upload(ctx context.Context, a core.Agent, s *source) error {
	err := a.Upload(ctx, s)
	s.over.Store(true)
	return err
}

// store uploads what has to be stored.
func (t *trial) store(a core.Agent, s *source) {
	t.did("upload of %d bytes as %s", s.size, s.draft.ID)
	if err := t.upload(t.ctx, a, s); err != nil {
		t.fail("the upload succeeds", "%v", err)
	}
}

// stored makes and stores a source.
func (t *trial) stored(a core.Agent, size int64) *source {
	s := t.source(size)
	t.store(a, s)
	return s
}

// same reads a stored archive whole and compares it, and its metadata, with what
// was uploaded.
func (t *trial) same(a core.Agent, s *source) {
	t.did("read of %s whole", s.draft.ID)
	got, err := t.whole(a, s.draft.ID)
	if err != nil {
		t.fail("the archive is read to its end", "%v", err)
	}
	t.equal(s.stored(), got.meta, "the archive's metadata is what was uploaded")
	if got.size != s.size {
		t.fail(fmt.Sprintf("%d bytes", s.size), "%d bytes and no error", got.size)
	}
	if want := s.seal().SHA256; got.sum != want {
		t.fail("SHA-256 "+want, "SHA-256 %s of %d bytes and no error", got.sum, got.size)
	}
}

type reading struct {
	meta core.Backup
	size int64
	sum  string
}

// whole reads an archive to its end.
func (t *trial) whole(a core.Agent, id core.ID) (reading, error) {
	archive, err := a.Open(t.ctx, id)
	if err != nil {
		return reading{}, err
	}
	if archive == nil {
		t.fail("an archive or an error", "Open returned neither")
	}
	defer t.close(archive, "Archive.Close")
	size, sum, err := t.span(archive, 0, -1)
	return reading{archive.Backup(), size, sum}, err
}

// span reads one range to its end, and hashes it.
func (t *trial) span(archive core.Archive, off, n int64) (int64, string, error) {
	r, err := archive.Range(t.ctx, off, n)
	if err != nil {
		return 0, "", err
	}
	if r == nil {
		t.fail("a reader or an error", "Range returned neither")
	}
	h := sha256.New()
	got, err := io.Copy(h, r)
	t.close(r, "Close of a range")
	return got, hex.EncodeToString(h.Sum(nil)), err
}

func (t *trial) close(c io.Closer, what string) {
	if err := c.Close(); err != nil {
		t.fail(what+" succeeds", "%v", err)
	}
}

// wrong reads an archive that must not be readable to its end: with one of kinds
// from Open, Range or Read.
func (t *trial) wrong(a core.Agent, id core.ID, kinds ...core.ErrorKind) {
	got, err := t.whole(a, id)
	if err == nil {
		t.fail(fmt.Sprintf("an error of kind %v", kinds), "%d bytes and no error", got.size)
	}
	t.kind(err, kinds...)
}

// kind demands an error of one of kinds.
func (t *trial) kind(err error, kinds ...core.ErrorKind) {
	if err == nil {
		t.fail(fmt.Sprintf("an error of kind %v", kinds), "no error")
	}
	if !slices.ContainsFunc(kinds, func(k core.ErrorKind) bool { return errors.Is(err, k) }) || !slices.Contains(kinds, core.KindOf(err)) {
		t.fail(fmt.Sprintf("an error of kind %v", kinds), "an error of kind %q: %v", core.KindOf(err), err)
	}
}

// entry is one item of a list.
type entry struct {
	core.Backup
	err error
}

func (t *trial) entries(a core.Agent) []entry {
	var all []entry
	for b, err := range a.List(t.ctx) {
		all = append(all, entry{b, err})
	}
	return all
}

// list is the whole list, which must have no error and be in order.
func (t *trial) list(a core.Agent) []core.Backup {
	var all []core.Backup
	for _, e := range t.entries(a) {
		if e.err != nil {
			t.fail("a list without an error", "%q: %v", e.ID, e.err)
		}
		all = append(all, e.Backup)
	}
	t.ordered(all)
	return all
}

func (t *trial) ordered(all []core.Backup) {
	for i := range max(0, len(all)-1) {
		if all[i].ID.Compare(all[i+1].ID) >= 0 {
			t.fail("each id once, in the order of ID.Compare", "%s and then %s", all[i].ID, all[i+1].ID)
		}
	}
}

func idsOf(all []core.Backup) []core.ID {
	ids := []core.ID{}
	for _, b := range all {
		ids = append(ids, b.ID)
	}
	return ids
}

// lists demands that the list has exactly these.
func (t *trial) lists(a core.Agent, want ...*source) {
	ids := []core.ID{}
	for _, s := range want {
		ids = append(ids, s.draft.ID)
	}
	t.listsIDs(a, ids)
}

func (t *trial) listsIDs(a core.Agent, want []core.ID) {
	slices.SortFunc(want, core.ID.Compare)
	got := idsOf(t.list(a))
	if slices.Equal(got, want) {
		return
	}
	for _, id := range want {
		if !slices.Contains(got, id) {
			t.fail(fmt.Sprintf("a list of %d backups", len(want)), "%d without an error, and %s is not among them", len(got), id)
		}
	}
	t.fail(fmt.Sprintf("a list of %d backups", len(want)), "%d, among them one that is not there", len(got))
}

// absent demands that nothing shows an id.
func (t *trial) absent(a core.Agent, id core.ID) {
	if b, err := a.Get(t.ctx, id); err == nil {
		t.fail("Get does not find "+string(id), "metadata of %d bytes", b.Size)
	} else {
		t.kind(err, core.ErrNotFound)
	}
	archive, err := a.Open(t.ctx, id)
	if err == nil {
		_ = archive.Close()
		t.fail("Open does not find "+string(id), "an archive")
	}
	t.kind(err, core.ErrNotFound)
	for _, e := range t.entries(a) {
		if e.ID == id {
			t.fail("List does not have "+string(id), "an entry, error: %v", e.err)
		}
		if e.err != nil {
			t.fail("a list without an error", "%q: %v", e.ID, e.err)
		}
	}
}

// stays demands that nothing shows an id for a time. It looks all the while.
func (t *trial) stays(a core.Agent, ids []core.ID, d time.Duration) {
	t.did("looking for it for %v", d)
	end := time.NewTimer(d)
	defer end.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		for _, id := range ids {
			t.absent(a, id)
		}
		select {
		case <-end.C:
			return
		case <-tick.C:
		}
	}
}

// get is the metadata of an id that must be there.
func (t *trial) get(a core.Agent, id core.ID) core.Backup {
	b, err := a.Get(t.ctx, id)
	if err != nil {
		t.fail("Get returns "+string(id), "%v", err)
	}
	return b
}

// equal compares metadata field by field, and then the documents.
func (t *trial) equal(want, got core.Backup, what string) {
	w, g := reflect.ValueOf(want), reflect.ValueOf(got)
	for i := range w.NumField() {
		f := w.Type().Field(i)
		if f.IsExported() && !reflect.DeepEqual(w.Field(i).Interface(), g.Field(i).Interface()) {
			t.fail(fmt.Sprintf("%s: %s is %s", what, f.Name, short(w.Field(i).Interface())), "%s", short(g.Field(i).Interface()))
		}
	}
	wantDoc, err := want.Encode()
	t.ok(err, "a document")
	gotDoc, err := got.Encode()
	if err != nil {
		t.fail(what+": its document", "%v", err)
	}
	if !bytes.Equal(wantDoc, gotDoc) {
		t.fail(what+": the document has the very bytes that were stored", "%d bytes became %d others", len(wantDoc), len(gotDoc))
	}
}

func short(v any) string {
	s := fmt.Sprintf("%#v", v)
	if when, ok := v.(time.Time); ok {
		s = when.Format(time.RFC3339Nano)
	}
	if len(s) > 200 {
		s = s[:200] + "…"
	}
	return s
}

// sweeper is the agent as a core.Sweeper, or the end of the case by rule.
func (t *trial) sweeper(a core.Agent) core.Sweeper {
	s, ok := a.(core.Sweeper)
	if !ok {
		t.notApplicable(MeansSweep, "the agent is no core.Sweeper")
	}
	return s
}

func (t *trial) sweep(a core.Agent, own func(core.ID) bool) []core.Leftover {
	var all []core.Leftover
	for l, err := range t.sweeper(a).Sweep(t.ctx, own) {
		if err != nil {
			t.fail("a sweep without an error", "%v", err)
		}
		all = append(all, l)
	}
	return all
}

// every is the answer of a host all of whose uploads are over.
func every(core.ID) bool { return true }
