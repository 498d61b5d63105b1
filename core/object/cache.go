package object

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"github.com/minio/crc64nvme"

	"github.com/offsite-backup/offsite/core"
)

// A cache keeps metadata documents by key and version, one file for each, so that
// a second list fetches only what is new. It is never the truth: what it lacks or
// cannot read is fetched. The zero cache keeps nothing.
type cache struct{ dir string }

func openCache(dir, agent string) cache {
	if dir == "" {
		return cache{}
	}
	return cache{filepath.Join(dir, shortHash(agent), "meta")}
}

// get returns the document of an id as it is in the version of o.
func (c cache) get(id core.ID, o Object) ([]byte, bool) {
	if c.dir == "" || o.Version == "" {
		return nil, false
	}
	file, err := os.ReadFile(filepath.Join(c.dir, string(id)))
	if err != nil {
		return nil, false
	}
	head, doc, _ := bytes.Cut(file, []byte("\n"))
	return doc, string(head) == cacheHead(o, doc)
}

func (c cache) put(id core.ID, o Object, doc []byte) error {
	if c.dir == "" || o.Version == "" {
		return nil
	}
	return replaceFile(filepath.Join(c.dir, string(id)), append([]byte(cacheHead(o, doc)+"\n"), doc...))
}

// cacheHead names the version, and guards the document against a torn write.
func cacheHead(o Object, doc []byte) string {
	return fmt.Sprintf("%q %016x", o.Version, crc64nvme.Checksum(doc))
}

// keep removes all documents but those of ids that are.
func (c cache) keep(are map[core.ID]bool) {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !are[core.ID(e.Name())] {
			_ = os.Remove(filepath.Join(c.dir, e.Name())) // it costs only room
		}
	}
}
