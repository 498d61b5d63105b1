package core_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/offsite-backup/offsite/core"
)

const sum0 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// backup is a small one that can be stored.
func backup(change ...func(*core.Backup)) core.Backup {
	b := core.Backup{
		ID:      "a",
		Archive: "data/a.tar.zst",
		Created: time.Date(2026, 11, 23, 4, 59, 0, 0, time.UTC),
		SHA256:  sum0,
	}
	for _, f := range change {
		f(&b)
	}
	return b
}

func encode(t rapid.TB, b core.Backup) []byte {
	t.Helper()
	doc, err := b.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// diff names the exported fields that differ, nil and empty being different.
func diff(a, b core.Backup) (fields []string) {
	va, vb := reflect.ValueOf(a), reflect.ValueOf(b)
	for _, f := range reflect.VisibleFields(va.Type()) {
		if f.IsExported() && !reflect.DeepEqual(va.FieldByIndex(f.Index).Interface(), vb.FieldByIndex(f.Index).Interface()) {
			fields = append(fields, f.Name)
		}
	}
	return fields
}

var (
	anyText = rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{
		"", "é", "e\u0301", "漢字", "🙂", "עברית", "a\nb\t\r", "\x00", "\u2028", "<>&", "\ufffd", `"\`, strings.Repeat("x", 5000),
	}))
	anyTime = rapid.Custom(func(t *rapid.T) time.Time {
		zone := time.FixedZone("", rapid.IntRange(-14*3600, 14*3600).Draw(t, "zone"))
		seconds := rapid.OneOf(rapid.Int64Range(-62135510400, 253402214400), rapid.SampledFrom([]int64{0, -1, 1, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32}))
		return time.Unix(seconds.Draw(t, "seconds"), rapid.Int64Range(0, 999999999).Draw(t, "nanoseconds")).In(zone)
	})
	anyExtra = rapid.SampledFrom([]string{
		`null`, `0`, `1e400`, `123456789012345678901234567890`, `"<é>"`, `[]`, `{}`, `{"b":{"a":[1,2,{"c":null}]},"a":"x"}`, `""`,
	})
)

func anyCount(t *rapid.T, name string) int64 { return rapid.Int64Min(0).Draw(t, name) }

func maybe[T any](t *rapid.T, name string, g *rapid.Generator[T]) (v T) {
	if rapid.Bool().Draw(t, "has "+name) {
		v = g.Draw(t, name)
	}
	return v
}

func anyBackup(t *rapid.T) core.Backup {
	id := core.ID(rapid.StringMatching(`[0-9A-Za-z][0-9A-Za-z_-]{0,127}`).Draw(t, "id"))
	b := core.Backup{
		ID: id, Job: anyText.Draw(t, "job"), Name: anyText.Draw(t, "name"), Created: anyTime.Draw(t, "created"),
		Origin:    core.Origin{Host: anyText.Draw(t, "host"), Instance: anyText.Draw(t, "instance")},
		Archive:   "data/" + string(id) + rapid.StringMatching(`(\.[a-z0-9]{1,8}){0,3}`).Draw(t, "extension"),
		MediaType: anyText.Draw(t, "media type"), SHA256: rapid.StringMatching(`[0-9a-f]{64}`).Draw(t, "sha256"),
		ContentSize: anyCount(t, "content"), Entries: anyCount(t, "entries"), Lost: anyCount(t, "lost"),
		Encryption: anyText.Draw(t, "encryption"), Trigger: anyText.Draw(t, "trigger"),
		Recipients: maybe(t, "recipients", rapid.SliceOf(anyText)),
		Tags:       core.Tags(maybe(t, "tags", rapid.MapOfN(anyText, anyText, -1, 8))),
	}
	b.Size = rapid.Int64Range(0, 1<<44).Draw(t, "size")
	if rapid.Bool().Draw(t, "has chunks") {
		b.Chunks.Size = 1 << 36
		b.Chunks.CRC64NVME = []core.CRC64{}
		for range (b.Size + b.Chunks.Size - 1) / b.Chunks.Size {
			b.Chunks.CRC64NVME = append(b.Chunks.CRC64NVME, core.CRC64(rapid.Uint64().Draw(t, "crc")))
		}
	}
	if rapid.Bool().Draw(t, "has toc") {
		b.TOC = &core.TOC{Offset: anyCount(t, "offset"), Size: rapid.Int64Min(1).Draw(t, "toc size"), SHA256: sum0}
	}
	b.Hooks = maybe(t, "hooks", rapid.SliceOf(rapid.Custom(func(t *rapid.T) core.HookRun {
		return core.HookRun{Name: anyText.Draw(t, "hook"), Status: anyText.Draw(t, "status"), Millis: rapid.Int64().Draw(t, "ms")}
	})))
	if rapid.Bool().Draw(t, "has extra") {
		b.Extra = core.Extra{}
		for k, v := range rapid.MapOfN(anyText, anyExtra, -1, 5).Draw(t, "extra") {
			b.Extra[k] = json.RawMessage(v)
		}
	}
	return b
}

func TestBackupRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := anyBackup(t)
		doc := encode(t, b)
		got, err := core.DecodeBackup(b.ID, doc)
		if err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		if !got.Created.Equal(b.Created) || got.Created.Location() != time.UTC {
			t.Fatalf("created %v came back as %v", b.Created, got.Created)
		}
		want := b
		want.Schema, want.Created = core.Schema, got.Created
		if fields := diff(want, got); fields != nil {
			t.Fatalf("%v differ:\n%+v\n%+v", fields, want, got)
		}
		if again := encode(t, got); !bytes.Equal(again, doc) {
			t.Fatalf("stored again as\n%s\nnot\n%s", again, doc)
		}
	})
}

func TestExtraIsCompact(t *testing.T) {
	b := backup(func(b *core.Backup) { b.Extra = core.Extra{"k": json.RawMessage("{ \"a\" : [ 1,\n2 ] }")} })
	got, err := core.DecodeBackup("a", encode(t, b))
	if err != nil || string(got.Extra["k"]) != `{"a":[1,2]}` {
		t.Errorf("%s, %v", got.Extra["k"], err)
	}
	if string(b.Extra["k"]) != "{ \"a\" : [ 1,\n2 ] }" {
		t.Error("Encode changed its argument")
	}
}

// later is a document of a newer minor schema, in an order and with spaces that
// Encode would not write.
const later = `{"extra":{"k" : 1.50}, "schema":"1.7","later":{"z":[1,  2]},"created":"2026-11-23T05:59:00+01:00",
	"archive":"data/a.tar","id":"a","size":0,"sha256":"` + sum0 + `","tags":{"x":"y"}}`

func TestNewerMinorSchemaKeepsItsBytes(t *testing.T) {
	doc := []byte(later)
	b, err := core.DecodeBackup("a", doc)
	if err != nil {
		t.Fatal(err)
	}
	clear(doc) // the caller's again
	out := encode(t, b)
	if string(out) != later {
		t.Errorf("stored again as\n%s", out)
	}
	clear(out)
	if string(encode(t, b)) != later {
		t.Error("Encode hands out the bytes that it keeps")
	}
	b.Created = b.Created.In(time.FixedZone("", 3600))
	if string(encode(t, b)) != later {
		t.Error("the same time in another zone is a change")
	}
}

func TestChangedBackupIsNotStoredAsTheOldOne(t *testing.T) {
	changes := map[string]func(*core.Backup){
		"id":     func(b *core.Backup) { b.ID, b.Archive = "b", "data/b.tar" },
		"size":   func(b *core.Backup) { b.Size = 5 },
		"tag":    func(b *core.Backup) { b.Tags["x"] = "z" },
		"chunks": func(b *core.Backup) { b.Chunks = core.Chunks{Size: 16 << 20} },
	}
	for name, change := range changes {
		b, err := core.DecodeBackup("a", []byte(later))
		if err != nil {
			t.Fatal(err)
		}
		change(&b)
		got, err := core.DecodeBackup(b.ID, encode(t, b))
		if err != nil {
			t.Fatal(err)
		}
		b.Schema = core.Schema
		if fields := diff(b, got); fields != nil {
			t.Errorf("%s: %v came back otherwise", name, fields)
		}
	}
}

func TestDecodeBackupRefuses(t *testing.T) {
	good := string(encode(t, backup()))
	with := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("no %q in\n%s", old, good)
		}
		return strings.Replace(good, old, new, 1)
	}
	tests := map[string]struct {
		doc  string
		kind core.ErrorKind
	}{
		"empty":             {"", core.ErrDamaged},
		"null":              {"null", core.ErrDamaged},
		"array":             {"[]", core.ErrDamaged},
		"cut":               {good[:len(good)/2], core.ErrDamaged},
		"more after it":     {good + "{}", core.ErrDamaged},
		"not UTF-8":         {with(`"schema"`, `"job": "`+"\xff"+`", "schema"`), core.ErrDamaged},
		"too large":         {good + strings.Repeat(" ", core.MaxMetadata), core.ErrDamaged},
		"no schema":         {with(`"schema": "1.0",`, ``), core.ErrDamaged},
		"schema of words":   {with(`"1.0"`, `"one"`), core.ErrDamaged},
		"schema of number":  {with(`"1.0"`, `1`), core.ErrDamaged},
		"newer major":       {with(`"1.0"`, `"2.0"`), core.ErrUnsupported},
		"older major":       {with(`"1.0"`, `"0.9"`), core.ErrUnsupported},
		"newer, other type": {`{"schema":"2.0","id":{"n":1},"size":"many","created":7}`, core.ErrUnsupported},
		"newer, other id":   {`{"schema":"10.3","id":"other"}`, core.ErrUnsupported},
		"this, other type":  {with(`"size": 0`, `"size": "0"`), core.ErrDamaged},
		"another id":        {strings.ReplaceAll(with(`"id": "a"`, `"id": "b"`), "data/a", "data/b"), core.ErrDamaged},
		"hostile id":        {with(`"id": "a"`, `"id": "../a"`), core.ErrDamaged},
		"other's archive":   {with(`data/a.tar.zst`, `data/b.tar.zst`), core.ErrDamaged},
		"archive upwards":   {with(`data/a.tar.zst`, `data/a/../../x`), core.ErrDamaged},
		"archive beside":    {with(`data/a.tar.zst`, `data/ab.tar`), core.ErrDamaged},
		"archive elsewhere": {with(`data/a.tar.zst`, `meta/a.json`), core.ErrDamaged},
		"archive absolute":  {with(`data/a.tar.zst`, `/data/a.tar.zst`), core.ErrDamaged},
		"four extensions":   {with(`.tar.zst`, `.a.b.c.d`), core.ErrDamaged},
		"long extension":    {with(`.tar.zst`, `.ninechars`), core.ErrDamaged},
		"upper extension":   {with(`.tar.zst`, `.TAR`), core.ErrDamaged},
		"dot at the end":    {with(`.tar.zst`, `.tar.`), core.ErrDamaged},
		"line end":          {with(`.tar.zst`, `.tar\n`), core.ErrDamaged},
		"no time":           {with(`"created": "2026-11-23T04:59:00Z",`, ``), core.ErrDamaged},
		"no such time":      {with(`2026-11-23T`, `2026-13-23T`), core.ErrDamaged},
		"upper-case sum":    {with(sum0, strings.ToUpper(sum0)), core.ErrDamaged},
		"short sum":         {with(sum0, sum0[1:]), core.ErrDamaged},
		"negative size":     {with(`"size": 0`, `"size": -1`), core.ErrDamaged},
		"size of 64 bits":   {with(`"size": 0`, `"size": 9223372036854775808`), core.ErrDamaged},
		"few chunks":        {with(`"size": 0`, `"size": 9, "chunks": {"size": 4, "crc64nvme": ["0000000000000000"]}`), core.ErrDamaged},
		"chunks that wrap":  {with(`"size": 0`, `"size": 9223372036854775807, "chunks": {"size": 9223372036854775807, "crc64nvme": []}`), core.ErrDamaged},
		"chunks of nothing": {with(`"size": 0`, `"size": 0, "chunks": {"size": 0, "crc64nvme": ["0000000000000000"]}`), core.ErrDamaged},
		"negative chunks":   {with(`"size": 0`, `"size": 9, "chunks": {"size": -9, "crc64nvme": []}`), core.ErrDamaged},
		"short crc":         {with(`"size": 0`, `"size": 1, "chunks": {"size": 4, "crc64nvme": ["0"]}`), core.ErrDamaged},
		"toc nowhere":       {with(`"size": 0`, `"size": 0, "toc": {"offset": -1, "size": 1, "sha256": "`+sum0+`"}`), core.ErrDamaged},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b, err := core.DecodeBackup("a", []byte(test.doc))
			if core.KindOf(err) != test.kind || errors.Is(err, core.ErrInvalid) || b.ID != "" {
				t.Errorf("%+v, %v; want %v alone", b, err, test.kind)
			}
		})
	}
}

func TestEncodeRefuses(t *testing.T) {
	tests := map[string]func(*core.Backup){
		"id":              func(b *core.Backup) { b.ID = "../a" },
		"other's archive": func(b *core.Backup) { b.Archive = "data/b.tar" },
		"archive upwards": func(b *core.Backup) { b.Archive = "data/a/../b" },
		"no time":         func(b *core.Backup) { b.Created = time.Time{} },
		"year 10000":      func(b *core.Backup) { b.Created = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"year 0":          func(b *core.Backup) { b.Created = time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC) },
		"job":             func(b *core.Backup) { b.Job = "\xff" },
		"name":            func(b *core.Backup) { b.Name = "\xff" },
		"host":            func(b *core.Backup) { b.Origin.Host = "\xff" },
		"instance":        func(b *core.Backup) { b.Origin.Instance = "\xff" },
		"media type":      func(b *core.Backup) { b.MediaType = "\xff" },
		"encryption":      func(b *core.Backup) { b.Encryption = "\xff" },
		"recipient":       func(b *core.Backup) { b.Recipients = []string{"\xff"} },
		"trigger":         func(b *core.Backup) { b.Trigger = "\xff" },
		"hook":            func(b *core.Backup) { b.Hooks = []core.HookRun{{Name: "\xff"}} },
		"hook's status":   func(b *core.Backup) { b.Hooks = []core.HookRun{{Status: "\xff"}} },
		"tag":             func(b *core.Backup) { b.Tags = core.Tags{"\xff": ""} },
		"tag's value":     func(b *core.Backup) { b.Tags = core.Tags{"": "\xff"} },
		"extra's key":     func(b *core.Backup) { b.Extra = core.Extra{"\xff": json.RawMessage("1")} },
		"extra's value":   func(b *core.Backup) { b.Extra = core.Extra{"k": json.RawMessage("\"\xff\"")} },
		"extra no JSON":   func(b *core.Backup) { b.Extra = core.Extra{"k": json.RawMessage("{")} },
		"extra nil":       func(b *core.Backup) { b.Extra = core.Extra{"k": nil} },
		"extra too deep": func(b *core.Backup) {
			b.Extra = core.Extra{"k": json.RawMessage(strings.Repeat("[", 2000) + strings.Repeat("]", 2000))}
		},
		"more than a page": func(b *core.Backup) { b.Tags = core.Tags{"k": strings.Repeat("x", core.MaxMetadata)} },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			b := backup(change)
			if doc, err := b.Encode(); core.KindOf(err) != core.ErrInvalid || doc != nil {
				t.Errorf("Encode: %d bytes, %v", len(doc), err)
			}
			if err := b.ValidateDraft(); core.KindOf(err) != core.ErrInvalid || strings.Contains(err.Error(), "read back") {
				t.Errorf("before the archive is read: %v", err)
			}
		})
	}
	sealed := map[string]func(*core.Backup){
		"no sum":        func(b *core.Backup) { b.SHA256 = "" },
		"upper sum":     func(b *core.Backup) { b.SHA256 = strings.ToUpper(sum0) },
		"negative size": func(b *core.Backup) { b.Size = -1 },
		"entries":       func(b *core.Backup) { b.Entries = -1 },
		"chunks":        func(b *core.Backup) { b.Chunks = core.Chunks{Size: 1, CRC64NVME: make([]core.CRC64, 1)} },
		"toc":           func(b *core.Backup) { b.TOC = &core.TOC{Size: 1} },
	}
	for name, change := range sealed {
		b := backup(change)
		if err := b.ValidateDraft(); err != nil {
			t.Errorf("%s: a draft is refused: %v", name, err)
		}
		if _, err := b.Encode(); core.KindOf(err) != core.ErrInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What passes as a draft must not be refused when a large archive is sealed.
func TestDraftLeavesRoomForSums(t *testing.T) {
	b := backup(func(b *core.Backup) { b.Tags = core.Tags{"k": strings.Repeat("x", core.MaxMetadata-65<<10)} })
	if err := b.ValidateDraft(); err != nil {
		t.Fatal(err)
	}
	b.Size = 1 << 50
	b.Chunks = core.Chunks{Size: 1 << 42, CRC64NVME: make([]core.CRC64, 256)}
	b.TOC = &core.TOC{Offset: 1 << 50, Size: 1 << 50, SHA256: sum0}
	encode(t, b)
	b.Tags["k"] += strings.Repeat("x", 2<<10)
	if err := b.ValidateDraft(); core.KindOf(err) != core.ErrInvalid {
		t.Errorf("a draft that leaves no room: %v", err)
	}
}

func TestArchiveKey(t *testing.T) {
	for _, ext := range []string{"", ".tar", ".tar.zst", ".tar.zst.age", ".x86", ".12345678"} {
		if key, err := core.ArchiveKey("a", ext); key != "data/a"+ext || err != nil {
			t.Errorf("%q: %q, %v", ext, key, err)
		}
	}
	for _, ext := range []string{"tar", ".", "..", ".TAR", ".tar.", ".a.b.c.d", ".123456789", "/x", ".a/b", ".a\n", ".é", ".a b"} {
		if key, err := core.ArchiveKey("a", ext); key != "" || core.KindOf(err) != core.ErrInvalid {
			t.Errorf("%q: %q, %v", ext, key, err)
		}
	}
	if _, err := core.ArchiveKey("a/b", ".tar"); core.KindOf(err) != core.ErrInvalid {
		t.Errorf("hostile id: %v", err)
	}
}

func TestExtension(t *testing.T) {
	tests := map[string]string{
		"dump": "", "dump.sql": ".sql", "/a.b/dump.tar.zst": ".tar.zst", "a.tar.zst.age": ".tar.zst.age", "my.own.tar.zst.age": ".tar.zst.age",
		"DUMP.SQL": "", "a.": "", "a..b": ".b", ".profile": ".profile", "a.ninechars": "", "a.tar.ninechars": "", "a.b\n": "", "a b.c": ".c",
	}
	for path, want := range tests {
		got := core.Extension(path)
		if got != want {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
		if _, err := core.ArchiveKey("a", got); err != nil {
			t.Errorf("%q: %v", path, err)
		}
	}
}
