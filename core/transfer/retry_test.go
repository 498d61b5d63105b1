package transfer_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/transfer"
)

var patience = core.Patience{Stall: time.Minute, Retry: 5 * time.Minute}

func down() error { return &core.Error{Kind: core.ErrUnavailable, Code: "500", Detail: "out of order"} }

// known is a Retry whose place has answered before.
func known(t *testing.T) *transfer.Retry {
	r := &transfer.Retry{Patience: patience}
	if err := r.Do(t.Context(), func(*transfer.Watch) error { return nil }); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRetry(t *testing.T) {
	tests := map[string]struct {
		fails int
		with  error
		tries int // 0: any number
		want  error
		took  time.Duration // at least; at most thrice as long and a second
	}{
		"well":           {},
		"once":           {fails: 1, with: down(), tries: 2, took: 125 * time.Millisecond},
		"five times":     {fails: 5, with: down(), tries: 6, took: 125 * 31 * time.Millisecond},
		"for ever":       {fails: 1000, with: down(), want: core.ErrUnavailable, took: 150 * time.Second},
		"throttled":      {fails: 2, with: &core.Error{Kind: core.ErrThrottled, RetryAfter: time.Minute}, tries: 3, took: 2 * time.Minute},
		"throttled long": {fails: 1, with: &core.Error{Kind: core.ErrThrottled, RetryAfter: time.Hour}, tries: 1, want: core.ErrThrottled},
		"denied":         {fails: 1, with: core.ErrDenied, tries: 1, want: core.ErrDenied},
		"a source":       {fails: 1, with: errSource, tries: 1, want: errSource},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin, tries := time.Now(), 0
				err := known(t).Do(t.Context(), func(*transfer.Watch) error {
					if tries++; tries <= test.fails {
						return test.with
					}
					return nil
				})
				if !errors.Is(err, test.want) || test.tries > 0 && tries != test.tries+min(0, test.fails) && test.fails > 0 {
					t.Errorf("%d tries: %v", tries, err)
				}
				if took := time.Since(begin); took < test.took || took > 3*test.took+time.Second {
					t.Errorf("took %v, want about %v", took, test.took)
				}
				if name == "for ever" && (!strings.Contains(err.Error(), "tried ") || !strings.Contains(err.Error(), "out of order")) {
					t.Errorf("%v", err)
				}
			})
		})
	}
}

func TestRetryOfAnUnknownPlaceEndsSoon(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		most time.Duration
	}{
		"no answer": {&core.Error{Kind: core.ErrUnavailable, Detail: "connection refused"}, 10 * time.Second},
		"an answer": {down(), 5 * time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			err := (&transfer.Retry{Patience: patience}).Do(t.Context(), func(*transfer.Watch) error { return test.err })
			if took := time.Since(begin); !errors.Is(err, core.ErrUnavailable) || took > test.most || took < test.most/3 {
				t.Errorf("%s: %v after %v", name, err, took)
			}
		})
	}
}

// TestRetryOfAGivenUpPlaceEndsSoon asks a place again that was given up: its outage is
// waited for once, not by each request.
func TestRetryOfAGivenUpPlaceEndsSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := known(t)
		refused := func(*transfer.Watch) error {
			return &core.Error{Kind: core.ErrUnavailable, Detail: "connection refused"}
		}
		for i, most := range []time.Duration{5 * time.Minute, 10 * time.Second, 10 * time.Second} {
			begin := time.Now()
			if err := r.Do(t.Context(), refused); !errors.Is(err, core.ErrUnavailable) || time.Since(begin) > most || time.Since(begin) < most/3 {
				t.Errorf("request %d: %v after %v", i, err, time.Since(begin))
			}
		}
		if err := r.Do(t.Context(), func(*transfer.Watch) error { return nil }); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if _ = r.Do(t.Context(), refused); time.Since(begin) < time.Minute {
			t.Errorf("it answered, and was given up after %v", time.Since(begin))
		}
	})
}

func TestRetryEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(errWord) })
		begin := time.Now()
		err := known(t).Do(ctx, func(*transfer.Watch) error {
			return &core.Error{Kind: core.ErrThrottled, RetryAfter: time.Minute}
		})
		if !errors.Is(err, errWord) || time.Since(begin) != time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
}

func TestFailuresAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, told := known(t), 0
		r.Failed = func(_ context.Context, err error, again time.Duration) {
			if told++; !errors.Is(err, core.ErrUnavailable) || again <= 0 {
				t.Errorf("%v, %v", err, again)
			}
		}
		tries := 0
		_ = r.Do(t.Context(), func(*transfer.Watch) error {
			if tries++; tries < 4 {
				return down()
			}
			return nil
		})
		if told != 3 {
			t.Errorf("told %d times", told)
		}
	})
}

// forEver is a request that nothing answers.
func forEver(w *transfer.Watch) error {
	<-w.Done()
	return core.Errorf(core.ErrUnavailable, "what the library says: %w", w.Err())
}

func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, test := range map[string]struct {
			request func(*transfer.Watch) error
			took    time.Duration
		}{
			"at once": {forEver, time.Minute},
			"slow":    {func(w *transfer.Watch) error { w.Slow(); return forEver(w) }, 10 * time.Minute},
			"later": {func(w *transfer.Watch) error {
				for range 10 {
					time.Sleep(50 * time.Second) // as a body that trickles
					w.Moved()
				}
				return forEver(w)
			}, 9*time.Minute + 20*time.Second},
			"after a pause": {func(w *transfer.Watch) error {
				w.Pause()
				time.Sleep(time.Hour)
				w.Moved()
				return forEver(w)
			}, time.Hour + time.Minute},
			"alive on its connection": {func(w *transfer.Watch) error {
				inner, cancel := context.WithCancel(w)
				defer cancel()
				for range 10 {
					time.Sleep(50 * time.Second)
					transfer.Alive(inner)
				}
				return forEver(w)
			}, 9*time.Minute + 20*time.Second},
			"alive in a pause": {func(w *transfer.Watch) error {
				w.Pause()
				transfer.Alive(w)
				time.Sleep(time.Hour)
				w.Moved()
				return forEver(w)
			}, time.Hour + time.Minute},
		} {
			transfer.Alive(t.Context()) // which nobody watches
			r := known(t)
			r.Patience.Retry = time.Millisecond // no second try
			begin := time.Now()
			err := r.Do(t.Context(), test.request)
			if took := time.Since(begin); took != test.took || !errors.Is(err, core.ErrUnavailable) || !strings.Contains(err.Error(), "not a byte moved") {
				t.Errorf("%s: %v after %v, want %v", name, err, took, test.took)
			}
		}
	})
}

// Reading a body is a sign of life, however long the source takes to give it.
func TestWatchedBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := readerAt(func(p []byte, off int64) (int, error) {
			time.Sleep(time.Hour)
			return bytes.NewReader([]byte("0123456789")).ReadAt(p, off)
		})
		var got []byte
		err := known(t).Do(t.Context(), func(w *transfer.Watch) (err error) {
			got, err = io.ReadAll(iotest.OneByteReader(w.Body(io.NewSectionReader(slow, 2, 5))))
			return errors.Join(err, w.Err())
		})
		if err != nil || string(got) != "23456" {
			t.Errorf("%q, %v", got, err)
		}
	})
}

// What is wrong with the source is no reason to ask the place again, whatever the
// provider's library makes of it.
func TestSourceIsNotRetried(t *testing.T) {
	tries := 0
	err := known(t).Do(t.Context(), func(w *transfer.Watch) error {
		tries++
		broken := readerAt(func([]byte, int64) (int, error) { return 0, &core.Error{Kind: core.ErrUnavailable, Err: errSource} })
		_, err := io.ReadAll(w.Body(io.NewSectionReader(broken, 0, 9)))
		return core.Errorf(core.ErrUnavailable, "the request was not sent: %v", err)
	})
	if tries != 1 || !errors.Is(err, errSource) {
		t.Errorf("%d tries: %v", tries, err)
	}
}

func TestKeptContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var kept, ended context.Context
	r := known(t)
	_ = r.Do(ctx, func(w *transfer.Watch) error { w.Keep(); kept = w; return nil })
	_ = r.Do(ctx, func(w *transfer.Watch) error { ended = w; return nil })
	if kept.Err() != nil || ended.Err() == nil {
		t.Errorf("%v, %v", kept.Err(), ended.Err())
	}
	if cancel(); kept.Err() == nil {
		t.Error("a kept context outlives the caller's")
	}
}

// A broken is a reader that ends with an error.
type broken struct {
	io.Reader
	err   error
	close func()
}

func (b broken) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		err = b.err
	}
	return n, err
}

func (b broken) Close() error { b.close(); return nil }

func TestRangeGoesOnWhereItBroke(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		data := rapid.SliceOfN(rapid.Byte(), 1, 500).Draw(rt, "data")
		off := rapid.IntRange(0, len(data)-1).Draw(rt, "off")
		n := rapid.IntRange(1, len(data)-off).Draw(rt, "n")
		cuts := rapid.SliceOfN(rapid.IntRange(0, 100), 0, 5).Draw(rt, "cuts")
		ends := []error{io.EOF, io.ErrUnexpectedEOF, down()}
		synctest.Test(t, func(t *testing.T) {
			open := 0
			r, err := known(t).Range(t.Context(), int64(off), int64(n), func(_ context.Context, off, n int64) (io.ReadCloser, error) {
				part := data[off : off+n]
				if len(cuts) == 0 {
					open++
					return broken{bytes.NewReader(part), io.EOF, func() { open-- }}, nil
				}
				cut := cuts[0]
				cuts = cuts[1:]
				if cut == 0 {
					return nil, down()
				}
				open++
				return broken{bytes.NewReader(part[:min(cut, len(part))]), ends[cut%3], func() { open-- }}, nil
			})
			if err != nil {
				rt.Fatal(err)
			}
			got, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(got, data[off:off+n]) {
				rt.Fatalf("%v: %x, want %x", err, got, data[off:off+n])
			}
			if r.Close(); open != 0 {
				rt.Fatalf("%d readers are open", open)
			}
		})
	})
}

func TestRangeEnds(t *testing.T) {
	zeros := strings.Repeat("\x00", 100<<10)
	tests := map[string]struct {
		give string // by each try
		with error
		want error
		took time.Duration // at most
	}{
		"changed underneath":          {"123", core.ErrChanged, core.ErrChanged, 0},
		"nothing moves":               {"", io.EOF, core.ErrUnavailable, 5 * time.Minute},
		"a byte at a time":            {"1", io.EOF, core.ErrUnavailable, 5 * time.Minute},
		"as much as would be allowed": {zeros, io.EOF, nil, time.Hour},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				r, err := known(t).Range(t.Context(), 0, 10<<20, func(context.Context, int64, int64) (io.ReadCloser, error) {
					return broken{strings.NewReader(test.give), test.with, func() {}}, nil
				})
				if err != nil {
					t.Fatal(err)
				}
				_, err = io.Copy(io.Discard, r)
				if took := time.Since(begin); !errors.Is(err, test.want) || took > test.took {
					t.Errorf("%v after %v", err, took)
				}
				_, again := r.Read(make([]byte, 1))
				if test.want != nil && again == nil {
					t.Error("an error was forgotten")
				}
			})
		})
	}
}

// What a caller does between two reads is not the place's time.
func TestRangeWaitsForItsReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := known(t).Range(t.Context(), 0, 4, func(ctx context.Context, _, _ int64) (io.ReadCloser, error) {
			return broken{iotest.OneByteReader(strings.NewReader("1234")), io.EOF, func() {
				if ctx.Err() == nil {
					t.Error("the reader outlives its request")
				}
			}}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for range 4 {
			time.Sleep(time.Hour)
			if _, err := r.Read(make([]byte, 9)); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
}
