package core

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"sync"
)

// downloads is how many ranges are fetched at once.
const downloads = 8

// Download fetches the archive of one backup to path, several ranges at once, and
// returns its metadata. What is at path appears there whole and checked, or not
// at all; a file that is there already is ErrExists. The partial file beside it,
// .NAME.ID.partial, stays when the download is interrupted, and the next one
// fetches only the chunks that it lacks. While one download runs, another of the
// same id to the same path is ErrUnavailable.
func Download(ctx context.Context, agent Agent, id ID, path string) (_ Backup, err error) {
	if err := id.Validate(); err != nil {
		return Backup{}, err
	}
	p, err := newPartial(path, id)
	if err != nil {
		return Backup{}, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	archive, err := agent.Open(ctx, id)
	if err != nil {
		return Backup{}, err
	}
	defer func() { err = errors.Join(err, archive.Close()) }()
	if err := p.open(archive.Backup().Size); err != nil {
		return Backup{}, err
	}
	if err := newDownload(archive, p).run(ctx); err != nil {
		return Backup{}, err
	}
	return archive.Backup(), p.publish()
}

// A download fills a file with an archive, range by range, while one goroutine
// follows from the start and computes the SHA-256.
type download struct {
	archive Archive
	backup  Backup
	file    *os.File
	again   bool            // whether the file may have ranges from an earlier try
	step    int64           // bytes in a range; a chunk where there are any
	done    []chan struct{} // closed when the range of that index is there
}

func newDownload(archive Archive, p *partial) *download {
	d := &download{archive: archive, backup: archive.Backup(), file: p.file, again: p.again}
	if d.step = d.backup.Chunks.Size; d.step == 0 {
		d.step = chunkSize(d.backup.Size)
	}
	for off := int64(0); d.backup.Size-off > 0; off += min(d.step, d.backup.Size-off) {
		d.done = append(d.done, make(chan struct{}))
	}
	return d
}

func (d *download) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int)
	var all sync.WaitGroup
	for range downloads {
		all.Go(func() {
			for i := range next {
				if err := d.ensure(ctx, i); err != nil {
					cancel(err)
					return
				}
				close(d.done[i])
			}
		})
	}
	all.Go(func() {
		defer close(next)
		for i := range d.done {
			select {
			case next <- i:
			case <-ctx.Done():
				return
			}
		}
	})
	all.Go(func() {
		if err := d.follow(ctx); err != nil {
			cancel(err)
		}
	})
	all.Wait()
	return context.Cause(ctx)
}

// ensure fetches range i unless the file has it from an earlier try. One that
// comes damaged is fetched once more: bytes flip on their way too.
func (d *download) ensure(ctx context.Context, i int) error {
	off := int64(i) * d.step
	n := min(d.step, d.backup.Size-off)
	if d.has(ctx, i, off, n) {
		return nil
	}
	err := d.fetch(ctx, off, n)
	if errors.Is(err, ErrDamaged) {
		err = d.fetch(ctx, off, n)
	}
	return err
}

func (d *download) fetch(ctx context.Context, off, n int64) error {
	r, err := d.archive.Range(ctx, off, n)
	if err != nil {
		return err
	}
	// One byte more than n shows a range that does not end where the next begins.
	got, err := d.copy(ctx, io.NewOffsetWriter(d.file, off), io.LimitReader(r, n+1))
	if err == nil && got != n {
		err = Errorf(ErrDamaged, "%d bytes of archive %s from %d came as %d", n, d.backup.ID, off, got)
	}
	return errors.Join(err, r.Close())
}

func (d *download) has(ctx context.Context, i int, off, n int64) bool {
	if !d.again || d.backup.Chunks.Size == 0 {
		return false
	}
	crc := NewCRC64()
	_, err := d.copy(ctx, crc, io.NewSectionReader(d.file, off, n))
	return err == nil && CRC64(crc.Sum64()) == d.backup.Chunks.CRC64NVME[i]
}

// follow hashes the ranges in order as they come.
func (d *download) follow(ctx context.Context) error {
	sum := sha256.New()
	for i, done := range d.done {
		select {
		case <-done:
		case <-ctx.Done():
			return nil
		}
		off := int64(i) * d.step
		n := min(d.step, d.backup.Size-off)
		if _, err := d.copy(ctx, sum, io.NewSectionReader(d.file, off, n)); err != nil {
			return err
		}
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != d.backup.SHA256 {
		return Errorf(ErrDamaged, "archive of %s has SHA-256 %s, its metadata says %s", d.backup.ID, got, d.backup.SHA256)
	}
	return nil
}

func (d *download) copy(ctx context.Context, w io.Writer, r io.Reader) (int64, error) {
	return io.CopyBuffer(w, untilDone{ctx, r}, make([]byte, 256<<10))
}

// untilDone is a reader that ends with ctx, and has no method that would keep
// io.CopyBuffer from its buffer.
type untilDone struct {
	ctx context.Context
	r   io.Reader
}

func (u untilDone) Read(p []byte) (int, error) {
	if u.ctx.Err() != nil {
		return 0, context.Cause(u.ctx)
	}
	return u.r.Read(p)
}
