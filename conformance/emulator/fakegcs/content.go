package fakegcs

import (
	"crypto/md5"
	"errors"
	"hash"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strconv"
)

// Content is the bytes of an object: pieces of files, which several objects may share.
type content []piece

type piece struct {
	file *file
	size int64
}

// A file holds bytes from its start on. It is removed when nothing refers to it.
type file struct {
	path string
	refs int
	size int64
}

// newFile makes an empty file, which belongs to the caller.
func (s *Server) newFile() (*file, *os.File, error) {
	s.mu.Lock()
	s.files++
	f := &file{path: filepath.Join(s.options.Dir, strconv.Itoa(s.files)), refs: 1}
	s.mu.Unlock()
	out, err := os.OpenFile(f.path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	return f, out, err
}

// grown says that a file has more bytes. The server is locked.
func (s *Server) grown(f *file, n int64) {
	f.size += n
	s.held += n
}

// share adds a reference to all bytes. The server is locked.
func (s *Server) share(c content) content {
	for _, p := range c {
		p.file.refs++
	}
	return c
}

// release gives references up. The server is locked.
func (s *Server) release(c content) {
	for _, p := range c {
		if p.file.refs--; p.file.refs == 0 {
			s.held -= p.file.size
			_ = os.Remove(p.file.path) // its folder is temporary
		}
	}
}

// send writes n bytes from off. The caller holds a reference.
func (c content) send(w io.Writer, off, n int64) error {
	for _, p := range c {
		if off >= p.size || n == 0 {
			off = max(0, off-p.size)
			continue
		}
		part := min(n, p.size-off)
		if err := p.send(w, off, part); err != nil {
			return err
		}
		off, n = 0, n-part
	}
	return nil
}

func (p piece) send(w io.Writer, off, n int64) error {
	in, err := os.Open(p.file.path)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, io.NewSectionReader(in, off, n))
	return errors.Join(err, in.Close())
}

// sums are the checksums that the server keeps.
type sums struct {
	crc hash.Hash32
	md5 hash.Hash
}

func newSums() sums { return sums{crc32.New(crc32.MakeTable(crc32.Castagnoli)), md5.New()} }

func (s sums) Write(p []byte) (int, error) {
	s.crc.Write(p)
	return s.md5.Write(p)
}

// receive stores all bytes of a body, which belong to the caller then.
func (s *Server) receive(body io.Reader) (d draft, err error) {
	f, out, err := s.newFile()
	if err != nil {
		return d, err
	}
	all := newSums()
	n, err := io.Copy(io.MultiWriter(out, all), body)
	err = errors.Join(err, out.Close())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.grown(f, n)
	d.content = content{{f, n}}
	if err != nil {
		s.release(d.content)
		return draft{}, err
	}
	d.size, d.crc, d.md5, d.components = n, all.crc.Sum32(), all.md5.Sum(nil), 0
	return d, nil
}
