package archive

import (
	"crypto/sha256"
	"errors"
	"os"
	"testing"
)

// A disk is a file that cannot be read from an offset on.
type disk struct {
	content string
	err     error
}

func (d disk) ReadAt(b []byte, off int64) (int, error) {
	if off >= int64(len(d.content)) {
		return 0, d.err
	}
	n := copy(b, d.content[off:])
	if n < len(b) {
		return n, d.err
	}
	return n, nil
}

// A file that cannot be read to its end is filled with zeros and reported; what
// its SHA-256 is of is what is in the archive.
func TestPackReadError(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/file")
	it := opened(t, dir, "file")
	defer it.release()
	bad := errors.New("bad sector")
	r := reading{file: disk{"0123456", bad}, sum: sha256.New()}
	b := []byte("xxxxxxxxxx")
	r.read(b[:4])
	r.read(b[4:8])
	r.read(b[8:])
	if string(b) != "0123456\x00\x00\x00" || r.good != 7 || r.pos != 10 || string(r.sum.Sum(nil)) != string(sum(b)) {
		t.Errorf("%q, %+v", b, r)
	}
	var odd []Oddity
	a := &assembler{report: func(o Oddity) { odd = append(odd, o) }}
	a.judge(it, &r)
	if len(odd) != 1 || odd[0].What != unreadable || !odd[0].Lost || !errors.Is(odd[0].Err, bad) || odd[0].Path != dir+"/file" || a.stats.Lost != 1 {
		t.Errorf("odd: %v, %+v", odd, a.stats)
	}
}

func sum(b []byte) []byte {
	s := sha256.Sum256(b)
	return s[:]
}

func write(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("0123456789"), 0o644); err != nil {
		t.Fatal(err)
	}
}

// opened is an item of a file that is open.
func opened(t *testing.T, dir, base string) *item {
	t.Helper()
	r, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	it := &item{mark: mark{dir: newFolder(r, dir, ""), base: base}}
	if it.info, err = r.Lstat(base); err == nil {
		it.file, it.opened, err = it.dir.open(base, it.info)
	}
	if err != nil {
		t.Fatal(err)
	}
	return it
}
