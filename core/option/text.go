package option

import (
	"math"
	"regexp"
	"strconv"
	"time"
)

// What durations and sizes look like, as regular expressions that all dialects know:
// 10m, 1h30m, 30d; 32MiB, 1048576. They are more than zero.
const (
	DurationPattern = `^([0-9]+(ms|s|m|h|d))*0*[1-9][0-9]*(ms|s|m|h|d)([0-9]+(ms|s|m|h|d))*$`
	SizePattern     = `^[1-9][0-9]*(B|KiB|MiB|GiB|TiB)?$`
)

// What is wanted where a text is none.
const (
	DurationWant = "a time such as 10m, 1h30m or 30d"
	SizeWant     = "a size such as 32MiB"
)

var (
	durationText = regexp.MustCompile(DurationPattern)
	durationPart = regexp.MustCompile(`([0-9]+)(ms|s|m|h|d)`)
	sizeText     = regexp.MustCompile(SizePattern)
	sizePart     = regexp.MustCompile(`^([0-9]+)(.*)$`)
)

var units = map[string]time.Duration{
	"ms": time.Millisecond,
	"s":  time.Second,
	"m":  time.Minute,
	"h":  time.Hour,
	"d":  24 * time.Hour,
}

var sizes = map[string]int64{"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}

// ParseDuration reads a text of DurationPattern; false where it is none, or one too
// long.
func ParseDuration(text string) (sum time.Duration, ok bool) {
	if !durationText.MatchString(text) {
		return 0, false
	}
	for _, part := range durationPart.FindAllStringSubmatch(text, -1) {
		count, err := strconv.ParseInt(part[1], 10, 64)
		unit := units[part[2]]
		if err != nil || count > int64((math.MaxInt64-sum)/unit) {
			return 0, false
		}
		sum += time.Duration(count) * unit
	}
	return sum, true
}

// ParseSize reads a text of SizePattern, in bytes; false where it is none, or one too
// large.
func ParseSize(text string) (int64, bool) {
	if !sizeText.MatchString(text) {
		return 0, false
	}
	part := sizePart.FindStringSubmatch(text)
	count, err := strconv.ParseInt(part[1], 10, 64)
	unit := sizes[part[2]]
	return count * unit, err == nil && count <= math.MaxInt64/unit
}
