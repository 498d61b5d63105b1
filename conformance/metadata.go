package conformance

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// Section B: metadata comes back as it was stored.
func metadata() []Case {
	const exact = "A Backup that was read keeps the very bytes that it was read from, and Encode returns those: fields that this version does not know survive being copied."
	return []Case{
		{
			ID: "B01", Words: "all_fields", Level: Short, run: allFields, Clause: exact,
			Why: "a field that is lost is found missing on the day of the restore",
		}, {
			ID: "B02", Words: "text", Level: Short, run: text,
			Clause: "ValidateDraft answers ErrInvalid for what must be right before the archive is known: id, archive key, time, text that JSON can keep exactly, and not too much of it.",
			Why:    "names of people and places are not ASCII, and providers refuse or change them in headers",
		}, {
			ID: "B03", Words: "key_case", Level: Short, run: keyCase, Clause: exact,
			Why: "providers fold the case of their metadata keys, and two tags become one",
		}, {
			ID: "B04", Words: "size", Level: Short, run: metadataSize,
			Clause: "MaxMetadata is the largest metadata document, in bytes, that is written or read.",
			Why:    "providers cut or refuse metadata of more than 2 KiB, after the archive was sent",
		}, {
			ID: "B05", Words: "time", Level: Short, run: times,
			Clause: "when the run began; UTC, kept to the nanosecond",
			Why:    "retention by the server's time of upload keeps and deletes the wrong backups",
		}, {
			ID: "B06", Words: "in_parts_too", Level: Core, run: inParts, Clause: exact,
			Why: "uploads in parts take another way through the provider, where metadata was lost",
		}, {
			ID: "B09", Words: "nil_and_empty", Level: Short, run: nilAndEmpty, Clause: exact,
			Why: "a copy whose metadata differs by nothing looks like another backup",
		},
	}
}

// full sets every field that is known before the archive.
func full(b *core.Backup) {
	b.Job, b.Name, b.Trigger = "job "+strings.Repeat("j", 300), "a name\twith \"quotes\" & <angles>", "schedule"
	b.Origin = core.Origin{Host: "host.example", Instance: "0"}
	b.MediaType, b.Encryption = "application/zstd; x=\"y\"", "age"
	b.ContentSize, b.Entries = math.MaxInt64, math.MaxInt64-1
	b.TOC = &core.TOC{Offset: math.MaxInt64, Size: 1, SHA256: strings.Repeat("0f", 32)}
	b.Recipients = []string{"age1", "", "age1"}
	b.Hooks = []core.HookRun{{Name: "database", Status: "ok", Millis: math.MaxInt64}, {Name: "", Status: "failed", Millis: -1}}
	b.Tags = core.Tags{"": "empty key", "empty": "", "k": "v"}
	b.Extra = core.Extra{"n": []byte("1e400"), "o": []byte(`{"b":[null,true],"a":9007199254740993}`), "s": []byte(`" \u0000<"`)}
}

// roundTrip stores s and demands its metadata back from every call.
func (t *trial) roundTrip(a core.Agent, s *source) {
	t.store(a, s)
	t.equal(s.stored(), t.get(a, s.draft.ID), "Get")
	t.same(a, s)
	for _, b := range t.list(a) {
		if b.ID == s.draft.ID {
			t.equal(s.stored(), b, "List")
			return
		}
	}
	t.fail("List has "+string(s.draft.ID), "it does not")
}

func allFields(t *trial) {
	s := t.source(100)
	full(&s.draft)
	t.roundTrip(t.open(t.place()), s)
}

func inParts(t *trial) {
	s := t.source(2*t.target.Limits.PartSize + 1)
	full(&s.draft)
	t.roundTrip(t.open(t.place()), s)
}

func text(t *trial) {
	ns := t.place()
	a := t.open(ns)
	texts := []string{"é", "e\u0301", "備份", "🗄️", "נתונים", "a\nb\r\nc", "nul\x00nul", "\u2028\u2029", " lead and trail ", "\ufeff", "\ufffd", "\x7f\x01", `\`, "%41+%2B"}
	s := t.source(10)
	s.draft.Name, s.draft.Job, s.draft.Origin.Host = strings.Join(texts, "|"), texts[2], texts[0]
	for i, v := range texts {
		s.draft.Tags[v] = texts[len(texts)-1-i]
	}
	t.did("%d odd texts in name, job, host and tags", len(texts))
	t.roundTrip(a, s)
	for _, bad := range []string{"\xff", "half \xc3", "\xed\xa0\x80"} {
		s := t.source(10)
		s.draft.Name = bad
		t.did("a name %q, which is not UTF-8", bad)
		t.refused(a, s)
	}
}

// refused demands ErrInvalid before anything is read or stored.
func (t *trial) refused(a core.Agent, s *source) {
	t.kind(t.upload(t.ctx, a, s), core.ErrInvalid)
	if n := s.read.Load(); n > 0 {
		t.fail("it is refused before any of the archive is read", "%d bytes were read", n)
	}
	for _, b := range t.list(a) {
		if b.ID == s.draft.ID {
			t.fail("nothing is stored", "List has %q", b.ID)
		}
	}
}

func keyCase(t *trial) {
	s := t.source(10)
	s.draft.Tags = core.Tags{"Abc": "1", "aBC": "2", "abc": "3", "ABC-d_e.f": "4"}
	s.draft.Extra = core.Extra{"Key": []byte("1"), "key": []byte("2")}
	t.did("tags and extras whose keys differ by case alone")
	t.roundTrip(t.open(t.place()), s)
}

func metadataSize(t *trial) {
	a := t.open(t.place())
	for _, n := range []int{1 << 10, 2 << 10, 8 << 10, 64 << 10, 900 << 10} {
		s := t.source(10)
		s.draft.Tags["long"] = strings.Repeat("x", n)
		t.did("metadata of more than %d bytes", n)
		t.roundTrip(a, s)
	}
	s := t.source(10)
	s.draft.Tags["long"] = strings.Repeat("x", core.MaxMetadata)
	t.did("metadata of more than %d bytes", core.MaxMetadata)
	t.kind(t.upload(t.ctx, a, s), core.ErrInvalid)
	t.absent(a, s.draft.ID)
}

func times(t *trial) {
	a := t.open(t.place())
	for _, when := range []time.Time{
		time.Unix(0, 0), time.Unix(1, 1), time.Date(2106, 2, 7, 6, 28, 16, 999_999_999, time.UTC),
		time.Date(2026, 3, 29, 2, 30, 0, 123_456_789, time.FixedZone("odd", 5*3600+45*60)),
		time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Nanosecond), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
	} {
		s := t.source(10)
		s.draft.Created = when
		t.did("a backup of %s", when.Format(time.RFC3339Nano))
		t.store(a, s)
		if got := t.get(a, s.draft.ID).Created; !got.Equal(when) || got.Location() != time.UTC {
			t.fail(fmt.Sprintf("created at %s", when.UTC().Format(time.RFC3339Nano)), "%s", got.Format(time.RFC3339Nano))
		}
		t.equal(s.stored(), t.get(a, s.draft.ID), "Get")
	}
	t.list(a)
}

func nilAndEmpty(t *trial) {
	a := t.open(t.place())
	s := t.source(10)
	s.draft.Tags, s.draft.Extra, s.draft.Recipients, s.draft.Hooks = nil, nil, nil, nil
	t.did("tags, extras, recipients and hooks that are nil")
	t.roundTrip(a, s)
	s = t.source(10)
	s.draft.Tags, s.draft.Extra, s.draft.Recipients, s.draft.Hooks = core.Tags{}, core.Extra{}, []string{}, []core.HookRun{}
	t.did("the same, empty")
	t.roundTrip(a, s)
}
