package filetree

import (
	"regexp"
	"strings"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/object"
)

const (
	tmpDir    = "tmp"
	partial   = ".partial" // ends the name of an object in the making
	record    = ".parts"   // ends the name of the record of its finished parts
	owner     = ".owner"   // ends the name of the file that names the process that writes to it
	shared    = ".shared"  // ends the name of a file of others that is to be an object
	claimed   = ".claim"   // ends the name of a claim
	maxKey    = 900        // bytes
	maxName   = 255        // bytes in one name, of most file systems
	tokenSize = 16
)

var (
	words  = regexp.MustCompile(`^[0-9A-Za-z._-]+(/[0-9A-Za-z._-]+)*$`)
	plain  = regexp.MustCompile(`^[0-9A-Za-z_-]+$`)
	tokens = regexp.MustCompile(`^[0-9a-z]{16}$`)
)

// validKey says whether a key may name an object: words with slashes between
// them, none of them . or .., none of them the folder of what is in the making, but
// for the scratch objects there, whose names end in nothing that an upload's do.
func validKey(key string) bool {
	if len(key) > maxKey || !words.MatchString(key) || len(flatten(key))+1+tokenSize+len(partial) > maxName {
		return false
	}
	for word := range strings.SplitSeq(key, "/") {
		if word == "." || word == ".." {
			return false
		}
	}
	top, _, _ := strings.Cut(key, "/")
	rest, scratch := strings.CutPrefix(key, object.ScratchPrefix)
	return top != tmpDir || scratch && plain.MatchString(rest)
}

func checkKey(key string) error {
	if !validKey(key) {
		return core.Errorf(core.ErrInvalid, "%.140q is no key", key)
	}
	return nil
}

func checkUpload(key, token string) error {
	if !tokens.MatchString(token) {
		return core.Errorf(core.ErrInvalid, "%.140q is no token", token)
	}
	return checkKey(key)
}

// flatten makes one word of a key. A comma is in no key, so no two keys become the
// same.
func flatten(key string) string { return strings.ReplaceAll(key, "/", ",") }

// tmpName is the name, without its end, of all that belongs to one upload.
func tmpName(key, token string) string { return tmpDir + "/" + flatten(key) + "." + token }

// claimName is the name of the claim to a key.
func claimName(key string) string { return tmpDir + "/" + flatten(key) + claimed }

// parseClaim finds the key of a claim.
func parseClaim(name string) (key string, ok bool) {
	name, ok = strings.CutSuffix(name, claimed)
	key = strings.ReplaceAll(name, ",", "/")
	return key, ok && validKey(key)
}

// parseTmp takes the name of a file in the folder tmp apart.
func parseTmp(name, end string) (key, token string, ok bool) {
	name, ok = strings.CutSuffix(name, end)
	dot := strings.LastIndexByte(name, '.')
	if !ok || dot < 0 {
		return "", "", false
	}
	key, token = strings.ReplaceAll(name[:dot], ",", "/"), name[dot+1:]
	return key, token, validKey(key) && tokens.MatchString(token)
}
