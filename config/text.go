package config

import (
	"regexp"
	"strconv"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/offsite-backup/offsite/core/option"
)

// What scalars look like. A schema has the same expressions, so they keep to what
// all dialects know.
var (
	nameText     = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z._-]{0,63}$`)
	variableText = regexp.MustCompile(`^[A-Za-z_][0-9A-Za-z_]*$`)

	count  = regexp.MustCompile(`^[1-9][0-9]*$`)
	simple = regexp.MustCompile(`^[0-9A-Za-z_-]+$`)
)

const nameWant = "a name: up to 64 of a-z A-Z 0-9 . _ -, with a letter or a digit first"

func parseDuration(n *yaml.Node) (time.Duration, bool) {
	d, ok := option.ParseDuration(n.Value)
	return d, ok && isText(n)
}

func parseSize(n *yaml.Node) (int64, bool) { return option.ParseSize(n.Value) }

func parseInt(n *yaml.Node) (int, bool) {
	if n.Tag != "!!int" || !count.MatchString(n.Value) {
		return 0, false
	}
	i, err := strconv.Atoi(n.Value)
	return i, err == nil
}

func parseBool(n *yaml.Node) (bool, bool) {
	yes, err := strconv.ParseBool(n.Value)
	return yes, n.Tag == "!!bool" && err == nil
}
