package core

import (
	"context"
	"errors"
	"hash"
	"io"
	"os"
)

// A File is a Source over a file that exists. Its bytes are read in place, never
// copied; its metadata is computed in one pass that begins when it is opened. A
// file whose size or time changes from then on is an error of kind ErrChanged; an
// agent sees from the checksums what changed otherwise.
type File struct {
	draft  Backup
	file   *os.File
	before os.FileInfo
	cancel context.CancelCauseFunc
	done   chan struct{} // closed when sealed and err are set
	sealed Backup
	err    error
}

// OpenFile opens the file at path as a Source. draft has what is known: ID and
// Archive at least; size and checksums are filled in. crc is a hash of
// CRC-64/NVME, nil for the standard library's. The caller closes the File, after
// all uploads of it have ended.
func OpenFile(path string, draft Backup, crc hash.Hash64) (*File, error) {
	if err := draft.ValidateDraft(); err != nil {
		return nil, err
	}
	f, stat, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	draft = draft.stored()
	draft.Size = stat.Size()
	ctx, cancel := context.WithCancelCause(context.Background())
	s := &File{draft: draft, file: f, before: stat, cancel: cancel, done: make(chan struct{})}
	go s.seal(ctx, crc)
	return s, nil
}

func openRegular(path string) (*os.File, os.FileInfo, error) {
	// Opening a pipe would wait for its writer.
	if stat, err := os.Stat(path); err == nil && !stat.Mode().IsRegular() {
		return nil, nil, Errorf(ErrInvalid, "%s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	stat, err := f.Stat()
	if err == nil && !stat.Mode().IsRegular() {
		err = Errorf(ErrInvalid, "%s is not a regular file", path)
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, stat, nil
}

// seal reads the file once.
func (s *File) seal(ctx context.Context, crc hash.Hash64) {
	defer close(s.done)
	sums := NewSums(crc)
	_, s.err = io.CopyBuffer(sums, io.NewSectionReader(s.Reader(ctx), 0, s.before.Size()), make([]byte, 256<<10))
	if s.err == nil {
		s.err = s.unchanged()
	}
	b := s.draft
	sums.Fill(&b)
	s.sealed = b.stored()
}

// unchanged compares the open file, and what its path names now is not asked:
// the open file is what is sent.
func (s *File) unchanged() error {
	now, err := s.file.Stat()
	if err != nil {
		return err
	}
	if now.Size() != s.before.Size() || !now.ModTime().Equal(s.before.ModTime()) {
		return Errorf(ErrChanged, "%s changed while it was read", s.file.Name())
	}
	return nil
}

// Draft returns what OpenFile was given, with the file's size.
func (s *File) Draft() Backup { return s.draft }

// Reader reads the file. It answers the error that Backup answers once there is
// one.
func (s *File) Reader(ctx context.Context) io.ReaderAt { return fileReader{ctx, s} }

type fileReader struct {
	ctx context.Context
	s   *File
}

func (r fileReader) ReadAt(p []byte, off int64) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	if r.s.isSealed() && r.s.err != nil {
		return 0, r.s.err
	}
	return r.s.file.ReadAt(p, off)
}

func (s *File) isSealed() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// Backup waits until the file has been read once.
func (s *File) Backup(ctx context.Context) (Backup, error) {
	select {
	case <-s.done:
	case <-ctx.Done():
		return Backup{}, context.Cause(ctx)
	}
	if s.err != nil {
		return Backup{}, s.err
	}
	return s.sealed, s.unchanged()
}

// Close ends reading and closes the file.
func (s *File) Close() error {
	s.cancel(ErrClosed)
	<-s.done
	return s.file.Close()
}
