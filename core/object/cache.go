package object

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/minio/crc64nvme"

	"github.com/offsite-backup/offsite/core"
)

// A cache is a file with the metadata documents of a place and their versions, in the
// order of a list, so that a second list fetches only what is new: it reads the file as
// it goes on, and writes the next one where something is new. Neither is ever held
// whole. It is never the truth: what it lacks, and what follows on what is torn, is
// fetched. Of several processes at once the last one's file stays. The zero cache keeps
// nothing.
type cache struct{ path string }

const (
	cacheMagic = "offsite metadata 1\n"
	// cacheHead is a record's length and checksum. What follows is an id, a version and
	// a document, each but the last with a line's end.
	cacheHead   = 16
	cacheRecord = core.MaxMetadata + 8<<10 // the most of what follows
)

func openCache(dir, agent string) cache {
	if dir == "" {
		return cache{}
	}
	return cache{filepath.Join(dir, shortHash(agent), "metadata")}
}

// A cached document is one as it is in a version of its object.
type cached struct {
	id       core.ID
	version  string
	doc      []byte
	from, to int64 // where it stands in the file that was read; 0 where it does not
}

func (d cached) record() []byte {
	record := append(make([]byte, cacheHead), string(d.id)+"\n"+d.version+"\n"...)
	record = append(record, d.doc...)
	binary.BigEndian.PutUint64(record, uint64(len(record)-cacheHead))
	binary.BigEndian.PutUint64(record[8:], crc64nvme.Checksum(record[cacheHead:]))
	return record
}

var errTorn = errors.New("torn")

func readRecord(from io.Reader) (d cached, err error) {
	var head [cacheHead]byte
	if _, err := io.ReadFull(from, head[:]); err != nil {
		return d, err
	}
	n := binary.BigEndian.Uint64(head[:])
	if n > cacheRecord {
		return d, errTorn
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(from, body); err != nil {
		return d, err
	}
	id, rest, _ := bytes.Cut(body, []byte("\n"))
	version, doc, ok := bytes.Cut(rest, []byte("\n"))
	if !ok || crc64nvme.Checksum(body) != binary.BigEndian.Uint64(head[8:]) {
		return d, errTorn
	}
	return cached{id: core.ID(id), version: string(version), doc: doc}, nil
}

// A cacheReader goes through a cache beside a list.
type cacheReader struct {
	file *os.File // nil where there is none
	from *bufio.Reader
	next int64  // where the next record begins
	head cached // the one before, where have
	have bool
	over bool
}

func (c cache) read() *cacheReader {
	none := &cacheReader{over: true}
	if c.path == "" {
		return none
	}
	file, err := os.Open(c.path)
	if err != nil {
		return none
	}
	r := &cacheReader{file: file, from: bufio.NewReaderSize(file, 64<<10), next: int64(len(cacheMagic))}
	magic := make([]byte, len(cacheMagic))
	if _, err := io.ReadFull(r.from, magic); err != nil || string(magic) != cacheMagic {
		_ = file.Close()
		return none
	}
	return r
}

// peek reads the next one unless it is there.
func (r *cacheReader) peek() bool {
	if r.have || r.over {
		return r.have
	}
	d, err := readRecord(r.from)
	if r.over = err != nil; err == nil {
		d.from, d.to = r.next, r.next+cacheHead+int64(len(d.id)+len(d.version)+len(d.doc)+2)
		r.head, r.have, r.next = d, true, d.to
	}
	return r.have
}

// of returns the document of an id where it is in the version of o, and passes over
// those before; ids are asked for in order.
func (r *cacheReader) of(id core.ID, o Object) cached {
	for ; r.peek(); r.have = false {
		switch order := r.head.id.Compare(id); {
		case order == 0 && r.head.version == o.Version && o.Version != "":
			return r.head
		case order >= 0:
			return cached{}
		}
	}
	return cached{}
}

// A cacheWriter is told what a list finds, in its order. It writes nothing as long as
// that is what the file has that was read.
type cacheWriter struct {
	path string
	old  *os.File // what is read, or nil
	same int64    // how much of old is what the list found
	file *os.File // nil until something is new
	to   *bufio.Writer
	err  error // the first
}

func (c cache) write(beside *cacheReader) *cacheWriter {
	return &cacheWriter{path: c.path, old: beside.file, same: beside.next}
}

// keep adds a document. One that has no version, or none that can be written, is left
// out.
func (w *cacheWriter) keep(d cached) {
	switch {
	case w.path == "" || w.err != nil || d.version == "" || strings.Contains(d.version, "\n"):
	case w.file == nil && d.to > 0 && d.from == w.same:
		w.same = d.to
	default:
		if w.begin(); w.err == nil {
			_, w.err = w.to.Write(d.record())
		}
	}
}

// begin begins a file with what is the same, unless it has.
func (w *cacheWriter) begin() {
	if w.file != nil {
		return
	}
	if w.err = os.MkdirAll(filepath.Dir(w.path), 0o700); w.err != nil {
		return
	}
	if w.file, w.err = os.CreateTemp(filepath.Dir(w.path), cacheTemp); w.err != nil {
		return
	}
	w.to = bufio.NewWriterSize(w.file, 64<<10)
	if w.old == nil {
		_, w.err = w.to.WriteString(cacheMagic)
		return
	}
	_, w.err = io.Copy(w.to, io.NewSectionReader(w.old, 0, w.same))
}

// cacheTemp is the pattern of a file that is being written.
const cacheTemp = "metadata-*"

// end closes what was read and, where the list was read whole and something in it was
// new or is gone, puts what was written in its place.
func (w *cacheWriter) end(whole bool) error {
	if whole && w.old != nil && w.err == nil {
		if info, err := w.old.Stat(); err != nil || info.Size() != w.same {
			w.begin()
		}
	}
	if w.old != nil {
		_ = w.old.Close() // before the rename, which some systems want
	}
	if w.file == nil {
		return w.err
	}
	err := errors.Join(w.err, w.to.Flush(), w.file.Close())
	if whole && err == nil {
		err = os.Rename(w.file.Name(), w.path)
	}
	if !whole || err != nil {
		return errors.Join(err, os.Remove(w.file.Name()))
	}
	return w.tidy()
}

// tidy removes what processes left that were killed. One that still writes loses what
// it writes, which costs it only time.
func (w *cacheWriter) tidy() error {
	left, err := filepath.Glob(filepath.Join(filepath.Dir(w.path), cacheTemp))
	for _, name := range left {
		_ = os.Remove(name) // it costs only room
	}
	return err
}
