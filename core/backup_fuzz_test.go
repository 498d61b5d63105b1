package core_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/offsite-backup/offsite/core"
)

func FuzzDecodeBackup(f *testing.F) {
	f.Add(encode(f, backup()))
	f.Add([]byte(later))
	f.Add([]byte(`{"schema":"2.0","id":{}}`))
	f.Add([]byte(`null`))
	f.Add(encode(f, backup(func(b *core.Backup) {
		b.Size, b.Chunks = 20<<20, core.Chunks{Size: 16 << 20, CRC64NVME: []core.CRC64{1, 2}}
		b.TOC = &core.TOC{Offset: 1, Size: 2, SHA256: sum0}
		b.Hooks, b.Recipients, b.Tags = []core.HookRun{{Name: "db", Status: "ok", Millis: 1}}, []string{"age1"}, core.Tags{"k": "é"}
		b.Extra = core.Extra{"k": json.RawMessage(`{"a":[1]}`)}
	})))
	f.Fuzz(func(t *testing.T, doc []byte) {
		given := bytes.Clone(doc)
		b, err := core.DecodeBackup("a", doc)
		if err != nil {
			if k := core.KindOf(err); k != core.ErrDamaged && k != core.ErrUnsupported || errors.Is(err, core.ErrInvalid) {
				t.Fatalf("an error that is neither damaged nor unsupported: %v", err)
			}
			return
		}
		clear(doc)
		if b.ID != "a" || !strings.HasPrefix(b.Archive, "data/a") || strings.Contains(b.Archive, "..") {
			t.Fatalf("accepted %q with archive %q", b.ID, b.Archive)
		}
		if again := encode(t, b); !bytes.Equal(again, given) {
			t.Fatalf("stored again as\n%s", again)
		}
		// As a new backup it is stored with the same fields.
		b.Tags = maps.Clone(b.Tags)
		if b.Tags == nil {
			b.Tags = core.Tags{}
		}
		b.Tags["fuzz"], b.Schema = "x", core.Schema
		if len(given) > core.MaxMetadata/8 || bytes.Count(given, []byte("["))+bytes.Count(given, []byte("{")) > 100 {
			return // it may be too large when it is written out
		}
		got, err := core.DecodeBackup("a", encode(t, b))
		if err != nil || diff(b, got) != nil {
			t.Fatalf("%v; %v differ", err, diff(b, got))
		}
	})
}
