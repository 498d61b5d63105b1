package object

import (
	"strings"

	"github.com/offsite-backup/offsite/core"
)

const (
	metaPrefix = "meta/"
	metaSuffix = ".json"
	dataPrefix = "data/"
	gonePrefix = "gone/"

	// ScratchPrefix begins the keys of what Agent.Examine stores: the rest is an id, of
	// when it did. A Store keeps them like any object, whatever else it has below tmp/.
	ScratchPrefix = "tmp/examine-"
)

func metaKey(id core.ID) string { return metaPrefix + string(id) + metaSuffix }
func goneKey(id core.ID) string { return gonePrefix + string(id) }

// metaID is the id of a metadata document, or "" for what is none.
func metaID(key string) core.ID {
	rest, ok := strings.CutPrefix(key, metaPrefix)
	rest, is := strings.CutSuffix(rest, metaSuffix)
	if !ok || !is {
		return ""
	}
	return validID(rest)
}

// dataID is the id of an archive, or "" for what is none.
func dataID(key string) core.ID {
	rest, ok := strings.CutPrefix(key, dataPrefix)
	if !ok {
		return ""
	}
	id, _, _ := strings.Cut(rest, ".")
	if want, err := core.ArchiveKey(core.ID(id), rest[len(id):]); err != nil || want != key {
		return ""
	}
	return core.ID(id)
}

// goneID is the id of a gone mark, or "" for what is none.
func goneID(key string) core.ID {
	rest, ok := strings.CutPrefix(key, gonePrefix)
	if !ok {
		return ""
	}
	return validID(rest)
}

func scratchKey(id core.ID) string { return ScratchPrefix + string(id) }

// scratchID is the id of a scratch object, or "" for what is none.
func scratchID(key string) core.ID {
	rest, ok := strings.CutPrefix(key, ScratchPrefix)
	if !ok {
		return ""
	}
	return validID(rest)
}

func validID(s string) core.ID {
	id, err := core.ParseID(s)
	if err != nil {
		return ""
	}
	return id
}
