package command

import (
	"os"
	"testing"
)

func TestParseStat(t *testing.T) {
	rest := " 34816 12 4194304 100 0 0 0 0 0 0 0 20 0 1 0 98765 4096 0 0\n"
	want := process{pid: 7, parent: 1, group: 12, name: "sh", began: "boot/98765/11"}
	named := func(name string) process {
		p := want
		p.name = name
		return p
	}
	dead := want
	dead.ended = true
	for stat, want := range map[string]process{
		"7 (sh) S 1 12 11" + rest:                  want,
		"7 (a b) R 9 9 (9) Z) R 1 12 11" + rest:    named("a b) R 9 9 (9) Z"),
		"7 (\n)) S 1 12 11" + rest:                 named("\n)"),
		"7 (sh) Z 1 12 11" + rest:                  dead,
		"7 (sh) S 1 12":                            {},
		"7 (sh) S 1 x 11" + rest:                   {},
		"":                                         {},
		"7 sh S 1 12 11 34816 12 4194304 100 0 0)": {},
	} {
		got, err := parseStat(7, "boot", stat)
		if (err == nil) != (want.pid != 0) || err == nil && got != want {
			t.Errorf("%q is %+v, %v", stat, got, err)
		}
	}
	if p, err := look(os.Getpid(), "boot"); err != nil || p.parent != os.Getppid() || p.ended {
		t.Errorf("%+v, %v", p, err)
	}
}
