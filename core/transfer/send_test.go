package transfer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/minio/crc64nvme"
	"pgregory.net/rapid"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/transfer"
)

var (
	errSource = errors.New("the source failed")
	errPlace  = errors.New("the place failed")
	errWord   = errors.New("word")
)

func crcOf(p []byte) core.CRC64 { return core.CRC64(crc64nvme.Checksum(p)) }

// readerAt is a source made of a function.
type readerAt func(p []byte, off int64) (int, error)

func (r readerAt) ReadAt(p []byte, off int64) (int, error) { return r(p, off) }

// of is a source that has data, and ends with its context.
func of(data []byte) func(context.Context) io.ReaderAt {
	return func(ctx context.Context) io.ReaderAt {
		return readerAt(func(p []byte, off int64) (int, error) {
			if ctx.Err() != nil {
				return 0, context.Cause(ctx)
			}
			return bytes.NewReader(data).ReadAt(p, off)
		})
	}
}

// A store takes parts, and notes what it is told.
type store struct {
	mu    sync.Mutex
	parts map[int][]byte
	done  int64
	err   error // what it answers once it has a part
}

func (s *store) Put(_ context.Context, p transfer.Part, body *io.SectionReader) error {
	data, err := io.ReadAll(body)
	if err != nil {
		return fmt.Errorf("put: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.parts == nil {
		s.parts = map[int][]byte{}
	}
	if _, twice := s.parts[p.Index]; twice || crcOf(data) != p.CRC64 || int64(len(data)) != p.Size {
		return fmt.Errorf("part %+v comes twice, or with other bytes", p)
	}
	s.parts[p.Index] = data
	return s.err
}

func (s *store) Done(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done += n
}

func split(data []byte, size int) (parts []transfer.Part) {
	for chunk := range slices.Chunk(data, size) {
		parts = append(parts, transfer.Part{Index: len(parts), Offset: int64(len(parts) * size), Size: int64(len(chunk)), CRC64: crcOf(chunk)})
	}
	return parts
}

func TestSend(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "data")
		size := rapid.IntRange(1, 100).Draw(t, "part size")
		want := split(data, size)
		var s store
		var have, missing []transfer.Part
		for _, p := range want {
			switch rapid.SampledFrom([]string{"have", "no", "other bytes", "other size", "other place"}).Draw(t, "at the place") {
			case "have":
				have = append(have, p)
				continue
			case "other bytes":
				have = append(have, transfer.Part{Index: p.Index, Offset: p.Offset, Size: p.Size, CRC64: p.CRC64 + 1})
			case "other size":
				have = append(have, transfer.Part{Index: p.Index, Offset: p.Offset, Size: p.Size + 1, CRC64: p.CRC64})
			case "other place":
				have = append(have, transfer.Part{Index: p.Index, Offset: p.Offset + 1, Size: p.Size, CRC64: p.CRC64})
			}
			missing = append(missing, p)
		}
		sent, err := transfer.Send{
			Source:   of(data),
			Limits:   transfer.Limits{Workers: rapid.IntRange(0, 4).Draw(t, "workers")},
			PartSize: int64(size), Have: have, Put: s.Put, Done: s.Done,
		}.Run(context.Background())
		if err != nil || !slices.Equal(sent, want) {
			t.Fatalf("%v: %v, want %v", err, sent, want)
		}
		if len(s.parts) != len(missing) || s.done != int64(len(data)) {
			t.Fatalf("put %d parts of %d missing, told of %d bytes", len(s.parts), len(missing), s.done)
		}
		for _, p := range missing {
			if !bytes.Equal(s.parts[p.Index], data[p.Offset:p.Offset+p.Size]) {
				t.Fatalf("part %d has other bytes", p.Index)
			}
		}
		if n, sum := transfer.Whole(sent); n != int64(len(data)) || sum != crcOf(data) {
			t.Fatalf("whole: %d, %016x", n, sum)
		}
	})
}

// A source may give its last bytes with io.EOF, and few at a time.
func TestSendOddSource(t *testing.T) {
	data := []byte("0123456789")
	odd := func(context.Context) io.ReaderAt {
		return readerAt(func(p []byte, off int64) (int, error) {
			if off >= int64(len(data)) {
				return 0, io.EOF
			}
			n := copy(p, data[off:])
			if int(off)+n == len(data) {
				return n, io.EOF
			}
			return n, nil
		})
	}
	var s store
	sent, err := transfer.Send{Source: odd, PartSize: 5, Put: s.Put, Done: s.Done}.Run(t.Context())
	if err != nil || !slices.Equal(sent, split(data, 5)) {
		t.Errorf("%v, %v", sent, err)
	}
}

func TestSendErrors(t *testing.T) {
	data := make([]byte, 1000)
	breaks := func(context.Context) io.ReaderAt {
		return readerAt(func(p []byte, off int64) (int, error) {
			if off >= 250 {
				return 0, errSource
			}
			return bytes.NewReader(data[:250]).ReadAt(p[:min(len(p), 250-int(off))], off)
		})
	}
	cancelled, cancel := context.WithCancelCause(t.Context())
	cancel(errWord)
	tests := map[string]struct {
		ctx    context.Context
		source func(context.Context) io.ReaderAt
		place  error
		want   error
	}{
		"source":    {t.Context(), breaks, nil, errSource},
		"place":     {t.Context(), of(data), errPlace, errPlace},
		"cancelled": {cancelled, of(data), nil, errWord},
	}
	for name, test := range tests {
		s := store{err: test.place}
		sent, err := transfer.Send{Source: test.source, Limits: transfer.Limits{Workers: 2}, PartSize: 100, Put: s.Put, Done: s.Done}.Run(test.ctx)
		if !errors.Is(err, test.want) || sent != nil {
			t.Errorf("%s: %v, %v", name, sent, err)
		}
		if test.place != nil && s.done != 0 {
			t.Errorf("%s: told of %d bytes that the place did not take", name, s.done)
		}
	}
}

// While the archive is still being written, an error of the place must not wait
// for its next bytes.
func TestSendEndsWhileTheSourceWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		waits := func(ctx context.Context) io.ReaderAt {
			return readerAt(func(p []byte, off int64) (int, error) {
				if off < 10 {
					return copy(p, "0123456789"[off:]), nil
				}
				<-ctx.Done()
				return 0, context.Cause(ctx)
			})
		}
		s := store{err: errPlace}
		if _, err := (transfer.Send{Source: waits, PartSize: 10, Put: s.Put, Done: s.Done}).Run(t.Context()); !errors.Is(err, errPlace) {
			t.Errorf("%v", err)
		}
	})
}

// The bubble panics when a goroutine is left.
func TestSendCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		put := func(ctx context.Context, _ transfer.Part, _ *io.SectionReader) error {
			<-ctx.Done()
			return context.Cause(ctx)
		}
		go func() {
			synctest.Wait() // all workers are busy
			cancel(errWord)
		}()
		send := transfer.Send{Source: of(make([]byte, 1000)), Limits: transfer.Limits{Workers: 3}, PartSize: 10, Put: put, Done: func(int64) {}}
		if sent, err := send.Run(ctx); !errors.Is(err, errWord) || sent != nil {
			t.Errorf("%v, %v", sent, err)
		}
	})
}

func TestSendWorkers(t *testing.T) {
	for _, workers := range []int{0, 1, 3} {
		synctest.Test(t, func(t *testing.T) {
			var running atomic.Int32
			goOn := make(chan struct{})
			put := func(context.Context, transfer.Part, *io.SectionReader) error {
				running.Add(1)
				<-goOn
				return nil
			}
			want := int32(max(1, workers))
			go func() {
				synctest.Wait() // as many as may be are begun
				if n := running.Load(); n != want {
					t.Errorf("%d parts at once, want %d", n, want)
				}
				close(goOn)
			}()
			send := transfer.Send{Source: of(make([]byte, 100)), Limits: transfer.Limits{Workers: workers}, PartSize: 10, Put: put, Done: func(int64) {}}
			if _, err := send.Run(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSendMaxParts(t *testing.T) {
	limits := transfer.Limits{PartSize: 1, MaxPart: 4, MaxParts: 10}
	room := 0
	for i := range limits.MaxParts {
		room += int(limits.SizeOf(1, i))
	}
	for size, want := range map[int]core.ErrorKind{room: "", room + 1: core.ErrUnsupported} {
		var s store
		sent, err := transfer.Send{Source: of(make([]byte, size)), Limits: limits, PartSize: 1, Put: s.Put, Done: s.Done}.Run(t.Context())
		if core.KindOf(err) != want || (err == nil) != (want == "") || len(s.parts) > limits.MaxParts {
			t.Errorf("%d bytes: %d parts, %v", size, len(sent), err)
		}
	}
}

// A part is read where it lies, twice, and never kept.
func TestSendMemory(t *testing.T) {
	const size, part = 256 << 20, 32 << 20
	zeros := func(context.Context) io.ReaderAt {
		return readerAt(func(p []byte, off int64) (int, error) {
			n := min(int64(len(p)), size-off)
			if n <= 0 {
				return 0, io.EOF
			}
			clear(p[:n])
			return int(n), nil
		})
	}
	put := func(_ context.Context, _ transfer.Part, body *io.SectionReader) error {
		_, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{body}, make([]byte, 64<<10))
		return err
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	sent, err := transfer.Send{Source: zeros, Limits: transfer.Limits{Workers: 4}, PartSize: part, Put: put, Done: func(int64) {}}.Run(t.Context())
	runtime.ReadMemStats(&after)
	if err != nil || len(sent) != size/part {
		t.Fatalf("%d parts, %v", len(sent), err)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 4<<20 {
		t.Errorf("%d bytes were allocated for %d", used, size)
	}
}

func TestSum(t *testing.T) {
	crc := crc64nvme.New()
	_, _ = crc.Write([]byte("of before"))
	n, err := transfer.Sum(bytes.NewReader([]byte("123456789")), crc, make([]byte, 2))
	if n != 9 || err != nil || crc.Sum64() != 0xae8b14860a799888 {
		t.Errorf("%d, %v, %016x", n, err, crc.Sum64())
	}
	if _, err := transfer.Sum(io.MultiReader(bytes.NewReader([]byte("1")), io.NewSectionReader(readerAt(func([]byte, int64) (int, error) { return 0, errSource }), 0, 9)), crc, make([]byte, 2)); err != errSource {
		t.Errorf("%v", err)
	}
}
