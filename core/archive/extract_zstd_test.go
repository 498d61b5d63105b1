package archive

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"testing"
	"testing/iotest"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/offsite-backup/offsite/core"
)

// framed compresses each piece as a frame and puts a skippable frame behind the
// last two, as a table of contents would be. ends are the frames' ends.
func framed(t testing.TB, pieces ...[]byte) (stream []byte, ends []int) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	must(t, err)
	for i, p := range pieces {
		stream = enc.EncodeAll(p, stream)
		ends = append(ends, len(stream))
		if i >= len(pieces)-2 {
			stream = binary.LittleEndian.AppendUint32(stream, 0x184D2A5E)
			stream = binary.LittleEndian.AppendUint32(stream, 1000)
			stream = append(stream, make([]byte, 1000)...)
			ends = append(ends, len(stream))
		}
	}
	return stream, ends
}

func decompress(ctx context.Context, t testing.TB, r io.Reader) ([]byte, error) {
	z, err := Decompress(ctx, r)
	must(t, err)
	defer z.Close()
	return io.ReadAll(z)
}

func noise(n int) []byte {
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(p)
	for i := range p {
		p[i] &= 15
	}
	return p
}

func TestExtractDecompress(t *testing.T) {
	plain := noise(3 << 20)
	stream, ends := framed(t, plain[:100], plain[100:1<<20], plain[1<<20:2<<20], plain[2<<20:])
	whole, err := decompress(t.Context(), t, bytes.NewReader(stream))
	if err != nil || !bytes.Equal(whole, plain) {
		t.Fatalf("%d bytes, %v", len(whole), err)
	}
	inside := 0
	for _, end := range ends {
		for _, cut := range []int{inside + 1, inside + 3, inside + 4, inside + 6, (inside + end) / 2, end - 1} {
			if got, err := decompress(t.Context(), t, bytes.NewReader(stream[:cut])); !errors.Is(err, core.ErrDamaged) || !bytes.HasPrefix(plain, got) {
				t.Errorf("cut at %d, in the frame to %d: %v", cut, end, err)
			}
		}
		inside = end
	}
}

func TestExtractDecompressDamage(t *testing.T) {
	stream, _ := framed(t, noise(1000), noise(2000))
	for at := range stream[:len(stream)-2016] { // what is skipped has no checksum
		bad := bytes.Clone(stream)
		bad[at] ^= 0x10
		got, err := decompress(t.Context(), t, bytes.NewReader(bad))
		if err == nil && !bytes.Equal(got, append(noise(1000), noise(2000)...)) {
			t.Errorf("byte %d changed: other content, and no error", at)
		}
		if err != nil && !errors.Is(err, core.ErrDamaged) {
			t.Errorf("byte %d changed: %v", at, err)
		}
	}
}

// A frame that says how much memory it wants, with its header alone.
func TestExtractDecompressMemory(t *testing.T) {
	magic := []byte{0x28, 0xb5, 0x2f, 0xfd}
	for name, header := range map[string][]byte{
		"window of 16 MiB":       {0x00, 14 << 3},
		"window of 1 TiB":        {0x00, 30 << 3},
		"one segment of 16 MiB":  {0xa0, 0, 0, 0, 1},
		"one segment of 1 EiB":   {0xe0, 0, 0, 0, 0, 0, 0, 0, 16},
		"one segment, all there": {0xe0, 255, 255, 255, 255, 255, 255, 255, 255},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := decompress(t.Context(), t, bytes.NewReader(append(append(bytes.Clone(magic), header...), make([]byte, 1<<20)...)))
		runtime.ReadMemStats(&after)
		wantErr(t, err, core.ErrDamaged, "more than 8 MiB")
		if n := after.TotalAlloc - before.TotalAlloc; n > 64<<20 {
			t.Errorf("%s: took %d bytes", name, n)
		}
	}
}

func TestExtractDecompressSource(t *testing.T) {
	stream, ends := framed(t, noise(1000), noise(2000))
	for at := range len(stream) + 1 {
		// The plain io.ErrUnexpectedEOF is what the decoder takes for the end.
		for _, cause := range []error{core.ErrUnavailable, io.ErrUnexpectedEOF} {
			_, err := decompress(t.Context(), t, io.MultiReader(bytes.NewReader(stream[:at]), iotest.ErrReader(cause)))
			if !errors.Is(err, cause) {
				t.Errorf("source fails at %d (frames end at %v): %v, want %v", at, ends, err, cause)
			}
		}
	}
}

func TestExtractDecompressEnds(t *testing.T) {
	stream, _ := framed(t, noise(1<<20), noise(1<<20))
	before := runtime.NumGoroutine()
	z, err := Decompress(t.Context(), bytes.NewReader(stream))
	must(t, err)
	_, err = io.ReadFull(z, make([]byte, 1000))
	must(t, err)
	must(t, z.Close())
	must(t, z.Close())
	if _, err := z.Read(make([]byte, 1)); !errors.Is(err, core.ErrClosed) {
		t.Error(err)
	}
	settled(t, before)

	stop := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	endless := iotest.DataErrReader(&repeat{p: stream})
	z, err = Decompress(ctx, endless)
	must(t, err)
	_, err = io.ReadFull(z, make([]byte, 3<<20))
	must(t, err)
	cancel(stop)
	if _, err := io.Copy(io.Discard, z); !errors.Is(err, stop) {
		t.Error(err)
	}
	must(t, z.Close())
	settled(t, before)
}

// settled waits until there are no more goroutines than before.
func settled(t *testing.T, before int) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}

// repeat reads p for ever.
type repeat struct {
	p  []byte
	at int
}

func (r *repeat) Read(p []byte) (int, error) {
	n := copy(p, r.p[r.at:])
	r.at = (r.at + n) % len(r.p)
	return n, nil
}
