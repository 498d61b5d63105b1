package filetree

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// system is the Process that the system knows of. Its names have three words: which
// machine since which boot, as those see it who share its process ids; the process
// id; and when that process began.
type system struct{}

// here is the first word of the names of this machine.
func here() (string, bool) {
	text, err := machine()
	if err != nil || text == "" {
		return "", false
	}
	sum := sha256.Sum256([]byte(text)) // it is nobody's business which machine this is
	return hex.EncodeToString(sum[:16]), true
}

func (system) Name() string {
	where, ok := here()
	began, err := began(os.Getpid())
	if !ok || err != nil {
		return ""
	}
	return fmt.Sprintf("%s %d %s", where, os.Getpid(), began)
}

func (system) Ended(name string) bool {
	words := strings.Split(name, " ")
	where, ok := here()
	if !ok || len(words) != 3 || words[0] != where {
		return false
	}
	pid, err := strconv.Atoi(words[1])
	if err != nil || pid <= 0 {
		return false
	}
	if gone(pid) {
		return true
	}
	now, err := began(pid)
	return err == nil && now != words[2]
}
