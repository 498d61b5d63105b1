package config_test

import (
	"fmt"
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestDurations: a time is the sum of its parts.
func TestDurations(t *testing.T) {
	units := []struct {
		name string
		unit time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond}}
	rapid.Check(t, func(t *rapid.T) {
		text, want := "", new(big.Int)
		for range rapid.IntRange(1, 4).Draw(t, "parts") {
			u := rapid.SampledFrom(units).Draw(t, "unit")
			n := rapid.OneOf(rapid.Int64Range(0, 100), rapid.Int64Range(0, math.MaxInt64)).Draw(t, "count")
			text += fmt.Sprintf("%d%s", n, u.name)
			want.Add(want, new(big.Int).Mul(big.NewInt(n), big.NewInt(int64(u.unit))))
		}
		f, err := kinds().Parse("offsite.yaml", []byte(theBox+"keep_alive: "+text+"}}}"))
		if fits := want.Sign() > 0 && want.IsInt64(); (err == nil) != fits {
			t.Fatalf("%s: %v", text, err)
		}
		if err == nil {
			if got := f.Agents[0].Config.(*box).KeepAlive; int64(got) != want.Int64() {
				t.Errorf("%s is %v", text, got)
			}
		}
	})
}

// TestSizes: a size is its number times its unit.
func TestSizes(t *testing.T) {
	units := []string{"", "B", "KiB", "MiB", "GiB", "TiB"}
	rapid.Check(t, func(t *rapid.T) {
		i := rapid.IntRange(0, len(units)-1).Draw(t, "unit")
		n := rapid.OneOf(rapid.Int64Range(0, 5000), rapid.Int64Range(0, math.MaxInt64)).Draw(t, "count")
		text := fmt.Sprintf("%d%s", n, units[i])
		want := new(big.Int).Lsh(big.NewInt(n), uint(10*max(0, i-1)))
		f, err := kinds().Parse("offsite.yaml", []byte(theBox+"part_size: "+text+"}}}"))
		if fits := n > 0 && want.IsInt64(); (err == nil) != fits {
			t.Fatalf("%s: %v", text, err)
		}
		if err == nil {
			if got := f.Agents[0].Config.(*box).PartSize; got != want.Int64() {
				t.Errorf("%s is %d", text, got)
			}
		}
	})
}

// TestMeant: one slip of the finger is found, whichever it is.
func TestMeant(t *testing.T) {
	words := []string{"paths", "exclude", "allow_empty", "hooks", "max_pause", "copies", "require", "restore"}
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.SampledFrom(words).Draw(t, "word")
		i := rapid.IntRange(0, len(word)-2).Draw(t, "at")
		letter := rapid.StringMatching(`[a-z]`).Draw(t, "letter")
		slip := rapid.SampledFrom([]string{
			word[:i] + word[i+1:],
			word[:i] + letter + word[i:],
			word[:i] + letter + word[i+1:],
			word[:i] + word[i+1:i+2] + word[i:i+1] + word[i+2:],
		}).Draw(t, "slip")
		if slip == word {
			return
		}
		_, err := kinds().Parse("offsite.yaml", []byte(job+"    "+slip+": x\n"))
		if want := fmt.Sprintf("offsite.yaml:6:5: jobs.web1.%s: unknown key; is %s meant?", slip, word); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	})
}
