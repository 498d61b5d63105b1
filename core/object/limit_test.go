package object

import (
	"bytes"
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// A summing store is a memory that computes a checksum of what it is given before it takes it,
// as an S3 does that wants MD5.
type summing struct {
	*memory
	took time.Duration // for the last sum
}

func (s *summing) Put(ctx context.Context, key string, body *io.SectionReader, crc core.CRC64) (Object, error) {
	began := time.Now()
	all, err := io.ReadAll(Unlimited(body))
	if err != nil || sum(all) != crc {
		return Object{}, core.Errorf(core.ErrInvalid, "%d bytes are others, or cannot be read: %w", len(all), err)
	}
	s.took = time.Since(began)
	return s.memory.Put(ctx, key, body, crc)
}

// A slow body takes ten seconds for each read.
type slowBody struct{ io.ReaderAt }

func (b slowBody) ReadAt(p []byte, off int64) (int, error) {
	time.Sleep(10 * time.Second)
	return b.ReaderAt.ReadAt(p, off)
}

// counting counts what is let through, at once.
type counting struct{ n int }

func (c *counting) WaitN(_ context.Context, n int) error { c.n += n; return nil }

// A place is not blamed while a checksum is computed of what a slow disk holds, and
// only what is sent is limited.
func TestSumOfASlowBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body, limit := content(1, 3<<20), &counting{}
		part := body[100:]
		env := core.Env{Name: "mem", Limit: limit}
		m := &summing{memory: newMemory()}
		a := New(Retry(m, env), env)
		defer a.Close()
		c := &call{agent: a}
		sent := c.limited(t.Context(), io.NewSectionReader(slowBody{bytes.NewReader(body)}, 100, int64(len(part))))
		_, err := a.store.Put(t.Context(), "data/x", sent, sum(part))
		if err != nil || limit.n < len(part) || limit.n > len(part)+1<<20 || m.took < time.Minute {
			t.Errorf("%v, %d of %d bytes were limited, summed in %v", err, limit.n, len(part), m.took)
		}
	})
}
