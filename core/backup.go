package core

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Schema is the version of the metadata that this package writes. A document of
// the same major version and a newer minor one is read, its unknown fields kept.
const Schema = "1.0"

const schemaMajor = 1

// MaxMetadata is the largest metadata document, in bytes, that is written or read.
const MaxMetadata = 1 << 20

// A Backup is the metadata of one immutable archive. At an agent it is one JSON
// object, the file meta/<id>.json, and the commit mark of the backup: it is
// stored last and never changes. It holds no secret, no file name and no output
// of a hook.
//
// A Backup that was read keeps the very bytes that it was read from, and Encode
// returns those: fields that this version does not know survive being copied.
type Backup struct {
	Schema      string    `json:"schema"`                // "major.minor" that it was read with; a new one gets Schema
	ID          ID        `json:"id"`                    //
	Job         string    `json:"job,omitzero"`          // the job that made it
	Name        string    `json:"name,omitzero"`         // for people
	Created     time.Time `json:"created"`               // when the run began; UTC, kept to the nanosecond
	Origin      Origin    `json:"origin,omitzero"`       // who made it
	Archive     string    `json:"archive"`               // the archive's key: data/<id> and its extension
	MediaType   string    `json:"media_type,omitzero"`   // of the stored bytes
	Size        int64     `json:"size"`                  // of the stored bytes
	SHA256      string    `json:"sha256"`                // of the stored bytes, lower-case hex
	Chunks      Chunks    `json:"chunks,omitzero"`       // checksums of parts of the stored bytes
	ContentSize int64     `json:"content_size,omitzero"` // bytes in the files that it holds
	Entries     int64     `json:"entries,omitzero"`      // files, folders and links that it holds
	Lost        int64     `json:"lost,omitzero"`         // entries whose content could not be read and is missing
	TOC         *TOC      `json:"toc,omitzero"`          // where its table of contents lies
	Encryption  string    `json:"encryption,omitzero"`   // "" or "age"
	Recipients  []string  `json:"recipients,omitzero"`   // fingerprints of the keys that open it
	Trigger     string    `json:"trigger,omitzero"`      // what started the run: "manual", "schedule"
	Hooks       []HookRun `json:"hooks,omitzero"`        // how the hooks before the archive went
	Tags        Tags      `json:"tags,omitzero"`         // the user's own
	Extra       Extra     `json:"extra,omitzero"`        // an embedding program's own

	raw  []byte // what it was read from; never handed out
	seal seal   // what one pass over the archive found; never stored
}

// Tags are words that the user gave a backup.
type Tags map[string]string

// Extra is what an embedding program adds: any JSON, stored compact.
type Extra map[string]json.RawMessage

// An Origin says who makes backups: retention touches only one's own.
type Origin struct {
	Host     string `json:"host,omitzero"`
	Instance string `json:"instance,omitzero"`
}

// Chunks are checksums of the archive in pieces, so that a part of it can be
// checked without the rest and without a key. Every piece has Size bytes but the
// last, which has what is left. See Sums.
type Chunks struct {
	Size      int64   `json:"size"`      // bytes; a power of two times 16 MiB
	CRC64NVME []CRC64 `json:"crc64nvme"` // in order
}

// A TOC says where the index of the table of contents lies, counted in the
// archive's zstd stream.
type TOC struct {
	Offset int64  `json:"offset"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// A HookRun says how one hook went, without its output.
type HookRun struct {
	Name   string `json:"name"`
	Status string `json:"status"` // "ok" or "failed"
	Millis int64  `json:"millis"` // how long its pre took
}

// Encode returns the metadata document: the bytes that the Backup was read from,
// or its fields as JSON when it is a new one, or was changed since. What does not
// describe a backup that can be stored is ErrInvalid. The caller owns the bytes.
func (b Backup) Encode() ([]byte, error) {
	if b.asRead() {
		return bytes.Clone(b.raw), nil
	}
	b = b.stored()
	if err := b.Validate(); err != nil {
		return nil, err
	}
	doc, err := b.document(MaxMetadata)
	return doc, b.invalid(err)
}

// asRead says whether all fields are still those of the document that b was read
// from. A copy that got another id or size must not be stored as the old one.
func (b Backup) asRead() bool {
	if b.raw == nil {
		return false
	}
	was, err := fieldsOf(b.raw)
	b.raw, b.seal, b.Created = nil, seal{}, b.Created.UTC().Round(0)
	return err == nil && reflect.DeepEqual(was, b)
}

// stored returns a new backup as it reads after it was stored, sharing nothing
// with b that can be changed.
func (b Backup) stored() Backup {
	if b.asRead() {
		return b
	}
	b.raw, b.Schema, b.Created = nil, Schema, b.Created.UTC().Round(0)
	b.Recipients, b.Hooks = slices.Clone(b.Recipients), slices.Clone(b.Hooks)
	b.Tags, b.Extra = maps.Clone(b.Tags), maps.Clone(b.Extra)
	for k, v := range b.Extra {
		b.Extra[k] = compact(v)
	}
	return b
}

// document is the JSON of b, which stored returned, of at most so many bytes. It
// reads back as b or is an error.
func (b Backup) document(most int) ([]byte, error) {
	b.seal = seal{}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(b); err != nil {
		return nil, err
	}
	if buf.Len() > most {
		return nil, fmt.Errorf("it has %d bytes, the most is %d", buf.Len(), most)
	}
	if again, err := fieldsOf(buf.Bytes()); err != nil || !reflect.DeepEqual(again, b) {
		return nil, errors.New("it would not read back as it is")
	}
	return buf.Bytes(), nil
}

// DecodeBackup reads the metadata document of id, the one in the document's
// name. What is no such document is ErrDamaged, a newer major schema
// ErrUnsupported. It copies doc.
func DecodeBackup(id ID, doc []byte) (Backup, error) {
	if len(doc) > MaxMetadata || !utf8.Valid(doc) {
		return Backup{}, Errorf(ErrDamaged, "metadata is more than %d bytes or not UTF-8", MaxMetadata)
	}
	b, err := fieldsOf(doc)
	schema := b.Schema
	if err != nil {
		schema = schemaOf(doc) // a newer major one may have given a field another type
	}
	major, known := majorOf(schema)
	switch {
	case known && major != schemaMajor:
		return Backup{}, Errorf(ErrUnsupported, "metadata of schema %q, this version reads %d.x: use a newer offsite", clip(schema), schemaMajor)
	case err != nil:
	case !known:
		err = fmt.Errorf("its schema %q is no version", clip(schema))
	case b.ID != id:
		err = fmt.Errorf("it is of another id, %q", clip(string(b.ID)))
	default:
		err = b.check()
	}
	if err != nil {
		return Backup{}, Errorf(ErrDamaged, "metadata is not understood: %w", err)
	}
	b.raw = bytes.Clone(doc)
	return b, nil
}

func fieldsOf(doc []byte) (Backup, error) {
	var b Backup
	if err := json.Unmarshal(doc, &b); err != nil {
		return Backup{}, err
	}
	b.Created = b.Created.UTC()
	for k, v := range b.Extra {
		b.Extra[k] = compact(v)
	}
	return b, nil
}

// compact returns JSON without the spaces between its tokens, and what is no JSON
// as it is.
func compact(v json.RawMessage) json.RawMessage {
	var buf bytes.Buffer
	if json.Compact(&buf, v) != nil {
		return v
	}
	return buf.Bytes()
}

func schemaOf(doc []byte) string {
	var s struct {
		Schema string `json:"schema"`
	}
	if err := json.Unmarshal(doc, &s); err != nil {
		return ""
	}
	return s.Schema
}

func majorOf(schema string) (major uint64, ok bool) {
	s, _, _ := strings.Cut(schema, ".")
	major, err := strconv.ParseUint(s, 10, 32)
	return major, err == nil
}

var (
	extension = regexp.MustCompile(`^(\.[a-z0-9]{1,8}){0,3}$`)
	sha256Hex = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// ArchiveKey is the key of the archive of an id, with an extension such as
// ".tar.zst": up to three of [a-z0-9]{1,8}, each with its dot, or none.
func ArchiveKey(id ID, ext string) (string, error) {
	if err := id.Validate(); err != nil {
		return "", err
	}
	if !extension.MatchString(ext) {
		return "", Errorf(ErrInvalid, "%q is no extension of an archive", clip(ext))
	}
	return "data/" + string(id) + ext, nil
}

// Validate answers ErrInvalid, naming the field, for metadata that cannot be
// stored, or not exactly.
func (b Backup) Validate() error { return b.invalid(b.check()) }

// sealRoom is how many bytes of its document a draft leaves to what is known
// only when the archive is sealed; the checksums of 256 chunks take 8 KiB.
const sealRoom = 64 << 10

// ValidateDraft answers ErrInvalid for what must be right before the archive is
// known: id, archive key, time, text that JSON can keep exactly, and not too much
// of it.
func (b Backup) ValidateDraft() error {
	err := b.checkDraft()
	if err == nil && !b.asRead() {
		_, err = b.stored().document(MaxMetadata - sealRoom)
	}
	return b.invalid(err)
}

func (b Backup) invalid(err error) error {
	if err == nil {
		return nil
	}
	return Errorf(ErrInvalid, "metadata of %q: %w", clip(string(b.ID)), err)
}

func (b Backup) check() error {
	if err := b.checkDraft(); err != nil {
		return err
	}
	switch {
	case !sha256Hex.MatchString(b.SHA256):
		return errors.New("sha256 is not 64 characters of lower-case hex")
	case b.Size < 0 || b.ContentSize < 0 || b.Entries < 0 || b.Lost < 0:
		return errors.New("a size is negative")
	case !b.Chunks.cover(b.Size):
		return fmt.Errorf("chunks do not cover %d bytes", b.Size)
	case b.TOC != nil && (b.TOC.Offset < 0 || b.TOC.Size <= 0 || !sha256Hex.MatchString(b.TOC.SHA256)):
		return errors.New("toc is no place in an archive")
	}
	return nil
}

func (b Backup) checkDraft() error {
	if err := b.ID.check(); err != nil {
		return err
	}
	rest, ok := strings.CutPrefix(b.Archive, "data/"+string(b.ID))
	if !ok || !extension.MatchString(rest) {
		return fmt.Errorf("archive %q is not data/ and its own id with an extension", clip(b.Archive))
	}
	if y := b.Created.UTC().Year(); b.Created.IsZero() || y < 1 || y > 9999 {
		return errors.New("created is not set, or not between the years 1 and 9999")
	}
	return b.checkText()
}

func (b Backup) checkText() error {
	texts := slices.Concat([]string{b.Job, b.Name, b.Origin.Host, b.Origin.Instance, b.MediaType, b.Encryption, b.Trigger}, b.Recipients)
	for k, v := range b.Tags {
		texts = append(texts, k, v)
	}
	for k, v := range b.Extra {
		if texts = append(texts, k); !json.Valid(v) || !utf8.Valid(v) {
			return fmt.Errorf("extra %q is no JSON", clip(k))
		}
	}
	for _, h := range b.Hooks {
		texts = append(texts, h.Name, h.Status)
	}
	for _, s := range texts {
		if !utf8.ValidString(s) {
			return fmt.Errorf("text %q is not UTF-8", clip(s))
		}
	}
	return nil
}

// cover says whether there are no chunks, or as many as size bytes need.
func (c Chunks) cover(size int64) bool {
	if c.Size == 0 && len(c.CRC64NVME) == 0 {
		return true
	}
	if c.Size <= 0 {
		return false
	}
	need := size / c.Size
	if size%c.Size != 0 {
		need++
	}
	return need == int64(len(c.CRC64NVME))
}
