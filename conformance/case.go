package conformance

import (
	"cmp"
	"slices"
)

// A Case is one thing that the contract promises and how to find out.
type Case struct {
	ID     string  // "A01"; it never changes its meaning
	Words  string  // "empty"
	Level  Level   //
	Needs  []Means // without which it cannot be run
	Clause string  // the sentence of package core that it checks
	Why    string  // what an agent without it does to people

	run    func(*trial)
	opaque func(*trial) // run, where Wire.Opaque; nil where the case cannot be tried so
}

// Name is the name of its subtest.
func (c Case) Name() string { return c.ID + "_" + c.Words }

// A Level says when a case runs.
type Level string

// The levels.
const (
	Short Level = "short" // always
	Core  Level = "core"  // unless Target.Short; every agent has to pass it
)

// Cases returns every case that is built, in the order in which they run: by id,
// and those that judge the run itself last.
func Cases() []Case {
	all := slices.Concat(basics(), odd(), sealedFiles(), metadata(), documents(), atomicity(), crashes(), durability(),
		integrity(), list(), pages(), failures(), cancel(), concurrency(), names(), isolation(), interop(),
		wireFaults(), wireTimes(), wireLeaks(), wireBytes(), wireAnswers(), wireTrust())
	slices.SortStableFunc(all, func(a, b Case) int { return cmp.Compare(a.ID, b.ID) })
	all = append(all, judgement()...)
	opaque := opaqueRuns()
	for i := range all {
		all[i].opaque = opaque[all[i].ID]
	}
	return all
}
