package object

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// TestListCutShort ends a list while its caller is slow: it must say so.
func TestListCutShort(t *testing.T) {
	for name, end := range map[string]func(*Agent, context.CancelCauseFunc){
		"cancel": func(_ *Agent, cancel context.CancelCauseFunc) { cancel(errors.New("enough")) },
		"close":  func(a *Agent, _ context.CancelCauseFunc) { a.Close() },
	} {
		m := newMemory()
		a := open(t, m, core.Env{})
		for i := range 60 {
			if err := a.Upload(t.Context(), source(t, core.ID(fmt.Sprintf("b%02d", i)), content(1, 10))); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		n, whole := 0, true
		for b, err := range a.List(ctx) {
			if n++; n == 1 {
				end(a, cancel)
			}
			if err != nil && b.ID == "" {
				whole = false
			}
		}
		if whole && n < 60 {
			t.Errorf("%s: the list ended after %d of 60 without an error", name, n)
		}
	}
}

func TestArchiveGone(t *testing.T) {
	m := newMemory()
	a := open(t, m, core.Env{})
	body := content(1, 1000)
	if err := a.Upload(t.Context(), source(t, id, body)); err != nil {
		t.Fatal(err)
	}
	delete(m.objects, "data/"+string(id)+".tar.zst")
	if err := a.Upload(t.Context(), source(t, id, body)); !errors.Is(err, core.ErrDamaged) {
		t.Errorf("upload of a backup whose archive is gone: %v, want ErrDamaged", err)
	}
}

// TestSweepMeetsUpload lets an upload go on with an archive between a sweep's look
// and its removal, and a sweep take the archive between an upload's look and its
// commit.
func TestSweepMeetsUpload(t *testing.T) {
	body := content(1, 1000)
	key := "data/" + string(id) + ".tar.zst"
	own := func(core.ID) bool { return true }
	t.Run("upload first", func(t *testing.T) {
		m := newMemory()
		a := open(t, m, core.Env{})
		m.set(key, body)
		m.set("data/0.tar", []byte("found first"))
		for l, err := range a.Sweep(t.Context(), own) {
			if l.ID == "0" {
				if err := a.Upload(t.Context(), source(t, id, body)); err != nil {
					t.Fatal(err)
				}
			} else if l.Removed || err == nil {
				t.Errorf("removed %s, which belongs to a backup by now", l.Key)
			}
		}
		if got, err := download(t, a, id); err != nil || !bytes.Equal(got, body) {
			t.Error(err)
		}
	})
	t.Run("sweep first", func(t *testing.T) {
		m := newMemory()
		a := open(t, m, core.Env{})
		m.set(key, body)
		swept := false
		m.before = func(request string) error {
			if strings.HasPrefix(request, "put meta/") && !swept {
				swept = true
				delete(m.objects, key)
			}
			return nil
		}
		if err := a.Upload(t.Context(), source(t, id, body)); err != nil || !swept {
			t.Fatalf("upload: %v, swept %v", err, swept)
		}
		if got, err := download(t, a, id); err != nil || !bytes.Equal(got, body) {
			t.Error(err)
		}
	})
}

// TestSweepSeesProgress does not take an upload that moves for one that is dead.
func TestSweepSeesProgress(t *testing.T) {
	m := newMemory()
	now := time.Now()
	a := open(t, m, core.Env{StateDir: t.TempDir(), Now: func() time.Time { return now }})
	p, err := m.Begin(t.Context(), "data/slow.tar", "token")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		part := Part{Index: i, Offset: int64(i), Size: 1, CRC64: sum([]byte("x"))}
		if err := p.Put(t.Context(), part, section("x")); err != nil {
			t.Fatal(err)
		}
		for l, err := range a.Sweep(t.Context(), nil) {
			if err != nil || l.Removed {
				t.Fatalf("after part %d: %+v, %v", i, l, err)
			}
		}
		now = now.Add(sightings)
	}
	for l, err := range a.Sweep(t.Context(), nil) {
		if err != nil || !l.Removed {
			t.Errorf("one that has not moved for seven days: %+v, %v", l, err)
		}
	}
}

// TestNothingSentTwice goes on after a crash between archive and metadata.
func TestNothingSentTwice(t *testing.T) {
	m := newMemory()
	a := open(t, m, core.Env{})
	body := content(1, 400<<10)
	m.before = func(request string) error {
		if strings.HasPrefix(request, "put meta/") {
			return core.Errorf(core.ErrUnavailable, "killed")
		}
		return nil
	}
	if err := a.Upload(t.Context(), source(t, id, body)); err == nil {
		t.Fatal("the upload was not stopped")
	}
	m.before = nil
	m.asked()
	if err := a.Upload(t.Context(), source(t, id, body)); err != nil {
		t.Fatal(err)
	}
	for _, r := range m.asked() {
		if strings.HasPrefix(r, "part ") || strings.HasPrefix(r, "begin ") {
			t.Errorf("asked %q although the archive is there", r)
		}
	}
	if got, err := download(t, a, id); err != nil || !bytes.Equal(got, body) {
		t.Error(err)
	}
}

// TestSourceKeepsIdentity fails a source with an error that looks like an agent's.
func TestSourceKeepsIdentity(t *testing.T) {
	reason := core.Errorf(core.ErrChanged, "the source changed")
	for name, src := range map[string]core.Source{
		"read": &brokenSource{source(t, id, content(1, 300<<10)), 0, reason},
		"seal": &unsealed{source(t, id, content(1, 300<<10)), reason},
	} {
		a := open(t, newMemory(), core.Env{})
		err := a.Upload(t.Context(), src)
		if !errors.Is(err, reason) || core.KindOf(err) != core.ErrChanged || !strings.HasPrefix(err.Error(), "mem: upload: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

type unsealed struct {
	core.Source
	err error
}

func (u *unsealed) Backup(context.Context) (core.Backup, error) { return core.Backup{}, u.err }

// TestStoredOtherwise reports other bytes stored than were sent.
func TestStoredOtherwise(t *testing.T) {
	for _, n := range []int{1000, 200 << 10} {
		m := newMemory()
		m.summed = true
		a := open(t, m, core.Env{})
		m.wrong = true
		if err := a.Upload(t.Context(), source(t, id, content(1, n))); !errors.Is(err, core.ErrDamaged) {
			t.Errorf("%d bytes: %v, want ErrDamaged", n, err)
		}
		if m.wrong = false; len(m.keys()) > 0 {
			t.Errorf("left: %v", m.keys())
		}
	}
}

// A meter is a core.Limiter that counts.
type meter struct{ n, most int }

func (l *meter) WaitN(_ context.Context, n int) error {
	l.n, l.most = l.n+n, max(l.most, n)
	return nil
}

func TestLimit(t *testing.T) {
	for _, n := range []int{1000, 200 << 10} {
		l := new(meter)
		m := newMemory()
		m.limits.Workers = 1
		a := open(t, m, core.Env{Limit: l})
		if err := a.Upload(t.Context(), source(t, id, content(1, n))); err != nil {
			t.Fatal(err)
		}
		if l.n < n || l.most > limitStep {
			t.Errorf("%d bytes sent, %d asked for, %d at once", n, l.n, l.most)
		}
		l.n = 0
		if _, err := download(t, a, id); err != nil || l.n < n || l.most > limitStep {
			t.Errorf("%d bytes received, %d asked for: %v", n, l.n, err)
		}
	}
}

// A settling is a memory that must be told to make durable what was found.
type settling struct {
	*memory
	settled []string
}

func (s *settling) Settled(_ context.Context, key string) error {
	s.settled = append(s.settled, key)
	return nil
}

// TestSettles makes durable what a lost answer left to be found.
func TestSettles(t *testing.T) {
	for _, n := range []int{1000, 200 << 10} {
		s := &settling{memory: newMemory()}
		lost := false
		s.after = func(request string) error {
			if strings.HasPrefix(request, "put meta/") || strings.HasPrefix(request, "put gone/") {
				lost = true
				return core.Errorf(core.ErrUnavailable, "answer lost")
			}
			return nil
		}
		a := New(s, core.Env{Name: "mem"})
		defer a.Close()
		if err := a.Upload(t.Context(), source(t, id, content(1, n))); err != nil || !lost {
			t.Fatal(err)
		}
		if want := "data/" + string(id) + ".tar.zst meta/" + string(id) + ".json"; strings.Join(s.settled, " ") != want {
			t.Errorf("settled %v, want %s", s.settled, want)
		}
		s.settled = nil
		if err := a.Delete(t.Context(), id); err != nil || strings.Join(s.settled, " ") != "gone/"+string(id) {
			t.Errorf("delete settled %v: %v", s.settled, err)
		}
	}
}

// TestReadingIsTold in the end as the whole archive.
func TestReadingIsTold(t *testing.T) {
	m := newMemory()
	body := content(3, 200<<10)
	if err := open(t, m, core.Env{}).Upload(t.Context(), source(t, id, body)); err != nil {
		t.Fatal(err)
	}
	var told core.Progress
	a := open(t, m, core.Env{Progress: func(p core.Progress) { told = p }})
	if _, err := download(t, a, id); err != nil {
		t.Fatal(err)
	}
	if want := (core.Progress{Agent: "mem", ID: id, Done: 200 << 10, Total: 200 << 10}); told != want {
		t.Errorf("told %+v, want %+v", told, want)
	}
}

// TestCommitMeetsTakeBack is another upload of the same id that takes its metadata back
// between this one's commit and the look at why that failed: this one begins anew.
func TestCommitMeetsTakeBack(t *testing.T) {
	m := newMemory()
	key, met := metaKey(id), 0
	m.before = func(request string) error {
		switch {
		case met == 0 && strings.HasPrefix(request, "put meta/"):
			met++
			_, err := m.create(key, "", []byte("{}"))
			return err
		case met == 1 && strings.HasPrefix(request, "stat meta/"):
			met++
			delete(m.objects, key)
		}
		return nil
	}
	a, body := open(t, m, core.Env{}), content(3, 200<<10)
	if err := a.Upload(t.Context(), source(t, id, body)); err != nil || met != 2 {
		t.Fatalf("met %d: %v", met, err)
	}
	if got, err := download(t, a, id); err != nil || !bytes.Equal(got, body) {
		t.Errorf("downloaded %d bytes, %v", len(got), err)
	}
}

// TestPartsMixed is another upload of the same id that goes on with this one's parts
// and sends others: this one begins anew with parts of its own.
func TestPartsMixed(t *testing.T) {
	m := newMemory()
	mixed := 0
	m.before = func(request string) error {
		if mixed == 0 && strings.HasPrefix(request, "commit") {
			mixed++
			for _, u := range m.uploads {
				other := content(9, 64<<10)
				u.have[1] = part{Part{Index: 1, Offset: 64 << 10, Size: 64 << 10, CRC64: sum(other)}, other}
			}
		}
		return nil
	}
	a, body := open(t, m, core.Env{}), content(3, 200<<10)
	if err := a.Upload(t.Context(), source(t, id, body)); err != nil {
		t.Fatal(err)
	}
	if got, err := download(t, a, id); err != nil || !bytes.Equal(got, body) || mixed != 1 {
		t.Errorf("downloaded %d bytes, %v", len(got), err)
	}
	if len(m.uploads) != 0 {
		t.Errorf("%d uploads in parts are left", len(m.uploads))
	}
}

// TestTokenProvesNothing: another upload that shares the parts may have committed
// other bytes of the same size.
func TestTokenProvesNothing(t *testing.T) {
	for _, summed := range []bool{true, false} {
		m := newMemory()
		m.summed = summed
		body := content(3, 200<<10)
		m.before = func(request string) error {
			if !strings.HasPrefix(request, "commit") {
				return nil
			}
			for token, u := range m.uploads {
				if _, err := m.create(u.key, token, content(4, 200<<10)); err != nil {
					return err
				}
				delete(m.uploads, token)
			}
			return nil
		}
		if err := open(t, m, core.Env{}).Upload(t.Context(), source(t, id, body)); !errors.Is(err, core.ErrExists) {
			t.Errorf("summed %v: %v", summed, err)
		}
		if keys := m.keys(); len(keys) != 1 {
			t.Errorf("summed %v: %q", summed, keys)
		}
	}
}
