package config

import (
	"math"
	"regexp"
	"strconv"
	"time"

	"go.yaml.in/yaml/v4"
)

// What scalars look like. A schema has the same expressions, so they keep to what
// all dialects know.
var (
	durationText = regexp.MustCompile(`^([0-9]+(ms|s|m|h|d))*0*[1-9][0-9]*(ms|s|m|h|d)([0-9]+(ms|s|m|h|d))*$`)
	sizeText     = regexp.MustCompile(`^[1-9][0-9]*(B|KiB|MiB|GiB|TiB)?$`)
	nameText     = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z._-]{0,63}$`)
	variableText = regexp.MustCompile(`^[A-Za-z_][0-9A-Za-z_]*$`)

	count        = regexp.MustCompile(`^[1-9][0-9]*$`)
	durationPart = regexp.MustCompile(`([0-9]+)(ms|s|m|h|d)`)
	sizePart     = regexp.MustCompile(`^([0-9]+)(.*)$`)
	simple       = regexp.MustCompile(`^[0-9A-Za-z_-]+$`)
)

const nameWant = "a name: up to 64 of a-z A-Z 0-9 . _ -, with a letter or a digit first"

var units = map[string]time.Duration{
	"ms": time.Millisecond,
	"s":  time.Second,
	"m":  time.Minute,
	"h":  time.Hour,
	"d":  24 * time.Hour,
}

var sizes = map[string]int64{"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}

func parseDuration(n *yaml.Node) (sum time.Duration, ok bool) {
	if !isText(n) || !durationText.MatchString(n.Value) {
		return 0, false
	}
	for _, part := range durationPart.FindAllStringSubmatch(n.Value, -1) {
		count, err := strconv.ParseInt(part[1], 10, 64)
		unit := units[part[2]]
		if err != nil || count > int64((math.MaxInt64-sum)/unit) {
			return 0, false
		}
		sum += time.Duration(count) * unit
	}
	return sum, true
}

func parseSize(n *yaml.Node) (int64, bool) {
	if !sizeText.MatchString(n.Value) {
		return 0, false
	}
	part := sizePart.FindStringSubmatch(n.Value)
	count, err := strconv.ParseInt(part[1], 10, 64)
	unit := sizes[part[2]]
	return count * unit, err == nil && count <= math.MaxInt64/unit
}

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
