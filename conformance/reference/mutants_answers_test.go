package reference

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/offsite-backup/offsite/conformance"
	"github.com/offsite-backup/offsite/core"
)

// brokenAnswers misunderstand what comes back over a network, or what is there when
// they go on.
func brokenAnswers() []mutant {
	return []mutant{
		{name: "no hash over the sent body", kills: "D07", with: unhashed},
		{name: "a hash of the first part alone", kills: "D08", also: []string{"D01", "D04"}, with: onRange(func(_ *archive, _ context.Context, _, _ int64, in io.ReadCloser) io.ReadCloser {
			return &unhashing{r: in.(*reader)}
		})},
		{name: "believes metadata as it comes", kills: "D08", also: []string{"D09"}, with: onTransport(func(inner http.RoundTripper, r *http.Request) (*http.Response, error) {
			in, err := inner.RoundTrip(r)
			if err != nil || in.Header.Get(headerSum) == "" || in.StatusCode != http.StatusOK {
				return in, err
			}
			data, err := io.ReadAll(in.Body)
			_ = in.Body.Close() // it was read
			in.Body = io.NopCloser(bytes.NewReader(data))
			in.Header.Set(headerSum, sumText(sumOf(data)))
			return in, err
		})},
		{name: "takes a clean end for the end", kills: "D09", also: []string{"J02", "J04", "J10"}, with: func(r *rig) {
			endingAt(func(err error) bool {
				return errors.Is(err, io.EOF) || errors.Is(err, core.ErrDamaged) && strings.Contains(err.Error(), "early")
			})(r)
		}},
		{name: "takes an empty answer for an empty page", kills: "D09", with: onTransport(func(inner http.RoundTripper, r *http.Request) (*http.Response, error) {
			in, err := inner.RoundTrip(r)
			if err != nil || in.ContentLength >= 0 || r.URL.Query().Get("op") != string(list) {
				return in, err
			}
			data, err := io.ReadAll(in.Body)
			if len(data) == 0 {
				data = []byte("{}")
			}
			_ = in.Body.Close() // it was read
			in.Body = io.NopCloser(bytes.NewReader(data))
			return in, err
		})},
		{name: "begins a list again for ever", kills: "E06", with: onPlace(func(q request, ask asked) response {
			q.After = strings.TrimRight(q.After, "\x00")
			r := ask(q)
			if q.Op == list && r.Next == q.After {
				r.Next += "\x00"
			}
			return r
		})},
		{name: "takes a lost token for the end", kills: "E06", with: onPlace(func(q request, ask asked) response {
			r := ask(q)
			r.More = r.More && r.Next != ""
			return r
		})},
		{name: "ends at an empty page", kills: "E07", with: onPlace(func(q request, ask asked) response {
			r := ask(q)
			r.More = r.More && len(r.Keys) > 0
			return r
		})},
		{name: "tries wrong credentials all night", kills: "F03", also: []string{"F06"}, with: insisting(core.ErrUnauthenticated)},
		{name: "takes its time with a place that never answered", kills: "F03", with: onClient(func(c *client) { c.answered.Store(true) })},
		{name: "a server that fails has no backups", kills: "F06", with: onWire(func(c *client, ctx context.Context, q request) response {
			r := c.do(ctx, q)
			if refused := (*refusal)(nil); errors.As(r.Err, &refused) && refused.code == "500" {
				r.Err = core.ErrNotFound
			}
			return r
		})},
		{name: "tries everything again", kills: "F06", also: []string{"F03", "F09", "H06", "J07"}, racy: true, with: insisting("")},
		{name: "forgets what the provider said", kills: "F06", also: []string{"F07", "J07"}, with: onWire(func(c *client, ctx context.Context, q request) response {
			r := c.do(ctx, q)
			if refused := (*refusal)(nil); errors.As(r.Err, &refused) {
				r.Err = refused.kind
			}
			return r
		})},
		{name: "does not read on after a 200", kills: "F07", with: onTransport(func(inner http.RoundTripper, r *http.Request) (*http.Response, error) {
			in, err := inner.RoundTrip(r)
			if err != nil || in.StatusCode != http.StatusOK || r.URL.Query().Get("op") != string(commit) {
				return in, err
			}
			_ = in.Body.Close() // who cares
			text, _ := json.Marshal(answer{})
			in.Body = io.NopCloser(bytes.NewReader(text))
			return in, nil
		})},
		{name: "asks until its clock is right", kills: "F09", also: []string{"F06"}, with: insisting(core.ErrClock)},
		{name: "holds a connection while it waits for another", kills: "H06", also: []string{"F06", "J06"}, with: onWire(holding)},
		{name: "goes where it is sent, with its credentials", kills: "J11", with: onClient(func(c *client) {
			c.http.CheckRedirect = func(r *http.Request, via []*http.Request) error {
				r.Header.Set("Authorization", via[0].Header.Get("Authorization"))
				return nil
			}
		})},
		{name: "looks at no certificate", kills: "J12", with: onClient(func(c *client) {
			if t, ok := c.http.Transport.(*http.Transport); ok { // and none that was given
				t.TLSClientConfig.InsecureSkipVerify = true
			}
		})},
		{name: "begins anew", kills: "K01", with: onPlace(func(q request, ask asked) response {
			if q.Op == uploads && !strings.HasSuffix(q.Key, "/data/") {
				return response{}
			}
			return ask(q)
		})},
		{name: "goes on whatever the source is now", kills: "K02", also: []string{"A05", "C08", "F04", "H02"}, with: blindly},
		{name: "reads on in another version", kills: "K03", also: []string{"D02", "H03"}, with: onPlace(func(q request, ask asked) response {
			q.Pinned = 0
			return ask(q)
		})},
		{name: "takes the whole for the range", kills: "K04", with: onTransport(func(inner http.RoundTripper, r *http.Request) (*http.Response, error) {
			in, err := inner.RoundTrip(r)
			if asked := r.Header.Get("Range"); err == nil && asked != "" && in.StatusCode == http.StatusOK {
				in.StatusCode = http.StatusPartialContent
				in.Header.Set("Content-Range", strings.Replace(asked, "=", " ", 1)+"/"+in.Header.Get("Content-Length"))
			}
			return in, err
		})},
	}
}

// unhashed sends parts without their checksums, and commits whatever arrived.
func unhashed(r *rig) {
	onPlace(func(q request, ask asked) response {
		switch q.Op {
		case put, putPart:
			q.Sums = nil
		case commit:
			q.Sums = nil
			for _, p := range ask(request{Op: parts, Key: q.Key, Token: q.Token}).Parts {
				q.Sums = append(q.Sums, p.Sum)
			}
		}
		return ask(q)
	})(r)
}

// unhashing stops to compare when the first piece is read.
type unhashing struct{ r *reader }

func (u *unhashing) Read(p []byte) (int, error) {
	n, err := u.r.Read(p)
	if u.r.off > 0 && u.r.off < u.r.end {
		blind := *u.r.archive
		blind.meta.Chunks = core.Chunks{}
		u.r.archive, u.r.sha = &blind, nil
	}
	return n, err
}

func (u *unhashing) Close() error { return u.r.Close() }

// insisting tries again what is an error of a kind, or of any.
func insisting(kind core.ErrorKind) func(*rig) {
	return onWire(func(c *client, ctx context.Context, q request) response {
		end := time.Now().Add(c.patience.Retry)
		for {
			r := c.do(ctx, q)
			if r.Err == nil || kind != "" && core.KindOf(r.Err) != kind || core.KindOf(r.Err) == core.ErrNotFound || time.Now().After(end) {
				return r
			}
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
				return response{Err: context.Cause(ctx)}
			}
		}
	})
}

// holding keeps the connection of a request for a page while it makes another.
func holding(c *client, ctx context.Context, q request) response {
	if q.Op != list {
		return c.do(ctx, q)
	}
	w := newWatch(ctx, time.Hour)
	defer w.end()
	first, err := c.encode(w, q)
	if err != nil {
		return response{Err: err}
	}
	in, err := c.http.Do(first)
	if err != nil {
		return response{Err: w.why(err)}
	}
	defer func() { _ = in.Body.Close() }() // nothing is wanted of it
	return c.do(ctx, q)
}

// blindly goes on with the parts that are there as if they were of its source: what
// it sent before it does not read again.
func blindly(r *rig) {
	var mu sync.Mutex
	sent := map[string]map[int64][]byte{} // by key, by offset
	onPlace(func(q request, ask asked) response {
		if q.Op == putPart {
			mu.Lock()
			if sent[q.Key] == nil {
				sent[q.Key] = map[int64][]byte{}
			}
			sent[q.Key][int64(q.Index)*PartSize] = bytes.Clone(q.Data)
			mu.Unlock()
		}
		return ask(q)
	})(r)
	r.agent = func(a core.Agent, ns conformance.Namespace, _ conformance.Raw) *broken {
		return &broken{upload: func(ctx context.Context, src core.Source) error {
			mu.Lock()
			before := sent[prefix(ns)+src.Draft().Archive]
			mu.Unlock()
			if len(before) > 0 {
				src = remembering(ctx, src, before)
			}
			return a.Upload(ctx, src)
		}}
	}
}

// remembering is a source that is not asked for the parts that were sent before,
// nor whether they are still its own.
func remembering(ctx context.Context, src core.Source, before map[int64][]byte) core.Source {
	fresh := src.Reader(ctx)
	var at readerAt
	at = func(p []byte, off int64) (int, error) {
		known := before[off-off%PartSize]
		if begin := off % PartSize; begin < int64(len(known)) {
			n := copy(p, known[begin:])
			if n == len(p) {
				return n, nil
			}
			more, err := at(p[n:], off+int64(n))
			return n + more, err
		}
		return fresh.ReadAt(p, off)
	}
	sums := core.NewSums(nil)
	_, _ = io.Copy(sums, io.NewSectionReader(at, 0, 1<<40)) // its error comes again
	return &altered{Source: src,
		reader: func(io.ReaderAt) io.ReaderAt { return at },
		backup: func(b core.Backup) core.Backup { sums.Fill(&b); return b },
	}
}
