package platform_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// A disk is what lies in the folders of a scene, read without the product as far as
// that can be.
type disk struct {
	records map[core.ID]kept            // of the state folder
	spools  []core.ID                   // in the spool's own folder
	stored  map[string]map[core.ID]bool // by agent: what is listed there
	left    map[string][]core.ID        // by agent: what belongs to nothing that is listed
}

// A kept record is one of the state folder.
type kept struct {
	Job    string
	Keep   time.Time
	Agents []string
	files  []string // in its folder
	ended  bool     // by its ledger
}

func (k kept) has(file string) bool { return slices.Contains(k.files, file) }

func (s *scene) look() (d disk, err error) {
	d = disk{records: map[core.ID]kept{}, stored: map[string]map[core.ID]bool{}, left: map[string][]core.ID{}}
	for _, id := range names(s.at("state", "runs")) {
		k, e := s.kept(core.ID(id))
		d.records[core.ID(id)] = k
		err = errors.Join(err, e)
	}
	if s.Spool != "" {
		d.spools = ids(names(s.Spool))
	}
	for _, p := range s.Places {
		dir, stored := s.at(p.Name), map[core.ID]bool{}
		for _, id := range ids(names(filepath.Join(dir, "meta"))) {
			stored[id] = true
		}
		for _, id := range ids(names(filepath.Join(dir, "data"))) {
			if !stored[id] {
				d.left[p.Name] = append(d.left[p.Name], id)
			}
		}
		d.left[p.Name] = append(d.left[p.Name], ids(names(filepath.Join(dir, "tmp")))...)
		d.stored[p.Name] = stored
	}
	return d, err
}

func (s *scene) kept(id core.ID) (k kept, err error) {
	dir := s.at("state", "runs", string(id))
	doc, err := os.ReadFile(filepath.Join(dir, "run.json"))
	switch {
	case err == nil:
		err = json.Unmarshal(doc, &k)
	case errors.Is(err, fs.ErrNotExist): // killed before there was one
		err = nil
	}
	if steps, e := os.ReadFile(filepath.Join(dir, "ledger.jsonl")); e == nil {
		k.ended = bytes.Contains(steps, []byte(`"step":"ended"`))
	}
	// Half a document goes with the folder, and is of no harm until then.
	k.files = slices.DeleteFunc(names(dir), func(name string) bool { return strings.HasPrefix(name, ".tmp-") })
	return k, err
}

// whole compares an archive at an agent with its metadata.
func (s *scene) whole(agent string, id core.ID) error {
	doc, err := os.ReadFile(s.at(agent, "meta", string(id)+".json"))
	if err != nil {
		return err
	}
	b, err := core.DecodeBackup(id, doc)
	if err != nil {
		return err
	}
	stored, err := os.ReadFile(s.at(agent, filepath.FromSlash(b.Archive)))
	if err != nil {
		return err
	}
	if sum := sha256.Sum256(stored); hex.EncodeToString(sum[:]) != b.SHA256 || int64(len(stored)) != b.Size {
		return fmt.Errorf("%s at %s has %d bytes that are not those of its metadata", id, agent, len(stored))
	}
	return nil
}

// names are those in a directory, none where there is none.
func names(dir string) (all []string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

var idIn = regexp.MustCompile(`[0-9]{8}T[0-9]{6}Z-[a-z2-7]{13}`)

// ids are the ids in names; a name without one stands for itself.
func ids(names []string) (all []core.ID) {
	for _, name := range names {
		id := idIn.FindString(name)
		if id == "" {
			id = strings.Clone(name)
		}
		all = append(all, core.ID(id))
	}
	return all
}
