package core

import (
	"encoding/base32"
	"fmt"
	"io"
	"strings"
	"time"
)

// An ID names one backup, the same at every agent. Ids of this product are a UTC
// second and 65 bits of chance, 20261123T045900Z-mzxw6ytboi4dk, so that they
// sort by time and a person can read them. Any other id of the form
// [0-9A-Za-z][0-9A-Za-z_-]{0,127} is accepted.
type ID string

const (
	idTime   = "20060102T150405Z"
	idChance = 13 // characters of five bits each
	idMax    = 128
)

// NewID makes an id of a time and of the bytes that chance gives.
func NewID(now time.Time, chance io.Reader) (ID, error) {
	var raw [9]byte // at least idChance times five bits
	if _, err := io.ReadFull(chance, raw[:]); err != nil {
		return "", fmt.Errorf("no chance for an id: %w", err)
	}
	enc := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(raw[:])
	return ParseID(now.UTC().Format(idTime) + "-" + strings.ToLower(enc[:idChance]))
}

// ParseID returns s as an ID, or ErrInvalid. It is the one place where ids are
// validated.
func ParseID(s string) (ID, error) {
	id := ID(s)
	return id, id.Validate()
}

// Validate answers ErrInvalid for what is no id.
func (id ID) Validate() error {
	if err := id.check(); err != nil {
		return Errorf(ErrInvalid, "%w", err)
	}
	return nil
}

func (id ID) check() error {
	ok := len(id) > 0 && len(id) <= idMax && id[0] != '-' && id[0] != '_'
	for i := 0; ok && i < len(id); i++ {
		ok = isAlnum(id[i]) || id[i] == '-' || id[i] == '_'
	}
	if !ok {
		return fmt.Errorf("%q is no id: letters, digits, - and _, at most %d, a letter or digit first", clip(string(id)), idMax)
	}
	return nil
}

// Compare orders ids as their documents in meta/ sort, which is by time for ids
// of this product. It is the order of Agent.List.
func (id ID) Compare(other ID) int {
	return strings.Compare(string(id)+".", string(other)+".")
}

// Time is the UTC second that an id of this product is of; ok is false of others.
func (id ID) Time() (at time.Time, ok bool) {
	second, chance, _ := strings.Cut(string(id), "-")
	at, err := time.Parse(idTime, second)
	return at, err == nil && len(chance) == idChance
}

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func clip(s string) string {
	const most = 140
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
