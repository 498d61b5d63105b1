package core

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// downloads is how many ranges are fetched at once.
const downloads = 4

// Download fetches the archive of one backup to path, several ranges at once, and
// returns its metadata. What is at path appears there whole and checked, or not
// at all; a file that is there already is ErrExists. The partial file beside it,
// .NAME.ID.partial, stays when the download is interrupted, and the next one
// fetches only the chunks that it lacks.
func Download(ctx context.Context, agent Agent, id ID, path string) (_ Backup, err error) {
	if _, err := os.Lstat(path); err == nil {
		return Backup{}, Errorf(ErrExists, "%s is there already", path)
	}
	archive, err := agent.Open(ctx, id)
	if err != nil {
		return Backup{}, err
	}
	defer func() { err = errors.Join(err, archive.Close()) }()
	partial := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"."+string(id)+".partial")
	if err := fetch(ctx, archive, partial); err != nil {
		return Backup{}, err
	}
	return archive.Backup(), publish(partial, path)
}

// fetch fills the file at partial with the archive and syncs it.
func fetch(ctx context.Context, archive Archive, partial string) (err error) {
	f, err := os.OpenFile(partial, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	d := newDownload(archive, f)
	stat, err := f.Stat()
	if err != nil {
		return err
	}
	d.again = stat.Size() > 0
	if err := f.Truncate(d.backup.Size); err != nil {
		return err
	}
	if err := d.run(ctx); err != nil {
		return err
	}
	return f.Sync()
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

func newDownload(archive Archive, f *os.File) *download {
	d := &download{archive: archive, backup: archive.Backup(), file: f}
	d.step = d.backup.Chunks.Size
	if d.step == 0 {
		d.step = minChunk
	}
	for range (d.backup.Size + d.step - 1) / d.step {
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

// ensure fetches range i unless the file has it from an earlier try.
func (d *download) ensure(ctx context.Context, i int) error {
	off := int64(i) * d.step
	n := min(d.step, d.backup.Size-off)
	if d.has(i, off, n) {
		return nil
	}
	r, err := d.archive.Range(ctx, off, n)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(onlyWriter{io.NewOffsetWriter(d.file, off)}, onlyReader{r}, make([]byte, 256<<10))
	return errors.Join(err, r.Close())
}

func (d *download) has(i int, off, n int64) bool {
	if !d.again || d.backup.Chunks.Size == 0 {
		return false
	}
	crc := NewCRC64()
	_, err := io.Copy(crc, io.NewSectionReader(d.file, off, n))
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
		if err := d.hash(sum, int64(i)*d.step); err != nil {
			return err
		}
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != d.backup.SHA256 {
		return Errorf(ErrDamaged, "archive of %s has SHA-256 %s, its metadata says %s", d.backup.ID, got, d.backup.SHA256)
	}
	return nil
}

func (d *download) hash(sum hash.Hash, off int64) error {
	_, err := io.CopyBuffer(sum, onlyReader{io.NewSectionReader(d.file, off, min(d.step, d.backup.Size-off))}, make([]byte, 256<<10))
	return err
}

// onlyReader and onlyWriter keep io.CopyBuffer to its buffer.
type onlyReader struct{ io.Reader }
type onlyWriter struct{ io.Writer }

// publish gives a complete file its name, never replacing another, and syncs the
// directory.
func publish(partial, path string) error {
	err := os.Link(partial, path)
	switch {
	case err == nil:
		err = os.Remove(partial)
	case errors.Is(err, fs.ErrExist):
		return Errorf(ErrExists, "%s is there already", path)
	default: // no hard links here
		if _, stat := os.Lstat(path); stat == nil {
			return Errorf(ErrExists, "%s is there already", path)
		}
		err = os.Rename(partial, path)
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	// Some systems cannot sync a directory; the file itself is synced.
	_ = d.Sync()
	return d.Close()
}
