package core

import (
	"bytes"
	"encoding/json"
	"fmt"
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
	Schema      string    `json:"schema"`                // "major.minor"; Encode sets an empty one
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
	TOC         *TOC      `json:"toc,omitzero"`          // where its table of contents lies
	Encryption  string    `json:"encryption,omitzero"`   // "" or "age"
	Recipients  []string  `json:"recipients,omitzero"`   // fingerprints of the keys that open it
	Trigger     string    `json:"trigger,omitzero"`      // what started the run: "manual", "schedule"
	Hooks       []HookRun `json:"hooks,omitzero"`        // how the hooks before the archive went
	Tags        Tags      `json:"tags,omitzero"`         // the user's own
	Extra       Extra     `json:"extra,omitzero"`        // an embedding program's own

	raw []byte // what it was read from; never handed out
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
// or, for a new one, its fields as JSON. What does not describe a backup that can
// be stored is ErrInvalid. The caller owns the bytes.
func (b Backup) Encode() ([]byte, error) {
	if b.raw != nil {
		return bytes.Clone(b.raw), nil
	}
	if b.Schema == "" {
		b.Schema = Schema
	}
	b.Created = b.Created.UTC().Round(0)
	if err := b.Validate(); err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(b); err != nil {
		return nil, Errorf(ErrInvalid, "metadata of %s: %w", b.ID, err)
	}
	if buf.Len() > MaxMetadata {
		return nil, Errorf(ErrInvalid, "metadata of %s has %d bytes, the most is %d", b.ID, buf.Len(), MaxMetadata)
	}
	return buf.Bytes(), nil
}

// DecodeBackup reads the metadata document of id, the one in the document's
// name. What is no such document is ErrDamaged, a newer major schema
// ErrUnsupported. It copies doc.
func DecodeBackup(id ID, doc []byte) (Backup, error) {
	var b Backup
	if err := json.Unmarshal(doc, &b); err != nil {
		// A newer major schema may have given a field another type.
		if major := schemaOf(doc); major != "" && major != majorOf(Schema) {
			return Backup{}, unknownSchema(id, major)
		}
		return Backup{}, Errorf(ErrDamaged, "metadata is not understood: %w", err)
	}
	if majorOf(b.Schema) != majorOf(Schema) {
		if b.Schema == "" {
			return Backup{}, Errorf(ErrDamaged, "metadata has no schema")
		}
		return Backup{}, unknownSchema(id, b.Schema)
	}
	if b.ID != id {
		return Backup{}, Errorf(ErrDamaged, "metadata is of another id, %q", clip(string(b.ID)))
	}
	if err := b.Validate(); err != nil {
		return Backup{}, Errorf(ErrDamaged, "%w", err)
	}
	b.Created = b.Created.UTC()
	b.raw = bytes.Clone(doc)
	return b, nil
}

func unknownSchema(id ID, schema string) error {
	return Errorf(ErrUnsupported, "backup %s has metadata of schema %q, this version reads %s.x: use a newer offsite", id, clip(schema), majorOf(Schema))
}

func schemaOf(doc []byte) string {
	var s struct {
		Schema string `json:"schema"`
	}
	if err := json.Unmarshal(doc, &s); err != nil {
		return ""
	}
	return majorOf(s.Schema)
}

func majorOf(schema string) string {
	major, _, _ := strings.Cut(schema, ".")
	if _, err := strconv.ParseUint(major, 10, 32); err != nil {
		return schema
	}
	return major
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
// stored, or not exactly. It does not look at fields that are known only when the
// archive is sealed while both Size and SHA256 are unset.
func (b Backup) Validate() error {
	if err := b.ValidateDraft(); err != nil {
		return err
	}
	if !sha256Hex.MatchString(b.SHA256) {
		return b.invalid("sha256", "is not 64 characters of lower-case hex")
	}
	if b.Size < 0 || b.ContentSize < 0 || b.Entries < 0 {
		return b.invalid("size", "is negative")
	}
	if err := b.Chunks.validate(b.Size); err != nil {
		return b.invalid("chunks", err.Error())
	}
	if y := b.Created.UTC().Year(); y < 1 || y > 9999 {
		return b.invalid("created", "is not between the years 1 and 9999")
	}
	if b.TOC != nil && (b.TOC.Offset < 0 || b.TOC.Size <= 0 || !sha256Hex.MatchString(b.TOC.SHA256)) {
		return b.invalid("toc", "is no place in an archive")
	}
	return nil
}

// ValidateDraft answers ErrInvalid for what must be right before the archive is
// known: id, archive key, and text that JSON can keep exactly.
func (b Backup) ValidateDraft() error {
	if err := b.ID.Validate(); err != nil {
		return err
	}
	rest, ok := strings.CutPrefix(b.Archive, "data/"+string(b.ID))
	if !ok || !extension.MatchString(rest) {
		return b.invalid("archive", fmt.Sprintf("%q is not data/ and its own id with an extension", clip(b.Archive)))
	}
	texts := slices.Concat([]string{b.Job, b.Name, b.Origin.Host, b.Origin.Instance, b.MediaType, b.Encryption, b.Trigger}, b.Recipients)
	for k, v := range b.Tags {
		texts = append(texts, k, v)
	}
	for k, v := range b.Extra {
		if texts = append(texts, k); !json.Valid(v) || !utf8.Valid(v) {
			return b.invalid("extra", fmt.Sprintf("%q is no JSON", clip(k)))
		}
	}
	for _, h := range b.Hooks {
		texts = append(texts, h.Name, h.Status)
	}
	for _, s := range texts {
		if !utf8.ValidString(s) {
			return b.invalid("text", fmt.Sprintf("%q is not UTF-8", clip(s)))
		}
	}
	return nil
}

func (b Backup) invalid(field, why string) error {
	return Errorf(ErrInvalid, "metadata of %s: %s %s", b.ID, field, why)
}

func (c Chunks) validate(size int64) error {
	if c.Size == 0 && len(c.CRC64NVME) == 0 {
		return nil
	}
	if c.Size <= 0 || int64(len(c.CRC64NVME)) != (size+c.Size-1)/c.Size {
		return fmt.Errorf("do not cover %d bytes", size)
	}
	return nil
}
