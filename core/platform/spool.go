package platform

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"

	"github.com/minio/crc64nvme"

	"github.com/offsite-backup/offsite/core"
)

// A spool is the archive of a run while it is packed and sent: one writer, and
// many readers behind it. It is a core.Source.
type spool struct {
	draft core.Backup
	file  *os.File

	mu     sync.Mutex
	grown  sync.Cond
	size   int64
	sums   *core.Sums
	sealed bool // there will be no more
	ready  bool // the metadata may be given out
	backup core.Backup
	err    error // why there will be no more
}

func newSpool(path string, draft core.Backup) (*spool, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	s := &spool{draft: draft, file: f, sums: core.NewSums(crc64nvme.New())}
	s.grown.L = &s.mu
	return s, nil
}

// Write appends to the archive. Only one goroutine writes.
func (s *spool) Write(p []byte) (int, error) {
	n, err := s.file.WriteAt(p, s.size)
	s.sums.Write(p[:n])
	s.mu.Lock()
	defer s.mu.Unlock()
	s.size += int64(n)
	s.grown.Broadcast()
	return n, err
}

// seal ends the archive. b has what is known of it besides its bytes. Nobody gets
// the metadata, and so nobody commits, before give.
func (s *spool) seal(b core.Backup) core.Backup {
	s.sums.Fill(&b)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.backup, s.sealed = b, true
	s.grown.Broadcast()
	return b
}

// give lets agents have the metadata of a sealed archive.
func (s *spool) give() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready = true
	s.grown.Broadcast()
}

// whole says whether the archive is sealed.
func (s *spool) whole() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sealed
}

// broken says whether there will be no archive.
func (s *spool) broken() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err != nil
}

// fail ends the archive with an error, and says so, unless it has ended.
func (s *spool) fail(err error) (ended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sealed || s.err != nil {
		return false
	}
	s.err = err
	s.grown.Broadcast()
	return true
}

// wait blocks until the spool has end bytes or is over.
func (s *spool) wait(ctx context.Context, end int64) error {
	return s.until(ctx, func() bool { return s.size >= end || s.sealed })
}

// until blocks until done, which is asked with the lock held, or until the archive
// failed.
func (s *spool) until(ctx context.Context, done func() bool) error {
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.grown.Broadcast()
	})
	defer stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for !done() && s.err == nil && ctx.Err() == nil {
		s.grown.Wait()
	}
	if s.err != nil {
		return s.err
	}
	return context.Cause(ctx)
}

func (s *spool) Draft() core.Backup { return s.draft }

func (s *spool) Reader(ctx context.Context) io.ReaderAt { return spoolReader{ctx, s} }

type spoolReader struct {
	ctx context.Context
	*spool
}

func (r spoolReader) ReadAt(p []byte, off int64) (int, error) {
	if err := r.wait(r.ctx, off+int64(len(p))); err != nil {
		return 0, err
	}
	return r.file.ReadAt(p, off)
}

func (s *spool) Backup(ctx context.Context) (core.Backup, error) {
	if err := s.until(ctx, func() bool { return s.ready }); err != nil {
		return core.Backup{}, err
	}
	return s.backup, nil
}

// SealedFile is the path of the archive.
func (s *spool) SealedFile() string { return s.file.Name() }

// close removes the archive.
func (s *spool) close() error {
	return errors.Join(s.file.Close(), os.Remove(s.file.Name()))
}
