//go:build linux

package main

import (
	"fmt"
	"io"
	"slices"
	"time"
)

// A table has a row for each contender, in the order in which they came first.
type table struct {
	rows []*row
}

type row struct {
	name string
	runs []usage
}

// A usage is what one run of a program took.
type usage struct {
	wall, cpu time.Duration
	memory    int64 // most bytes resident
}

func (t *table) add(name string, u usage) {
	r := t.know(name)
	r.runs = append(r.runs, u)
}

// know is the row of a name, the last one if it is new.
func (t *table) know(name string) *row {
	i := slices.IndexFunc(t.rows, func(r *row) bool { return r.name == name })
	if i < 0 {
		i = len(t.rows)
		t.rows = append(t.rows, &row{name: name})
	}
	return t.rows[i]
}

// print writes the table with ratios to the wall time of the first two rows: the
// floor and the one to compare with.
func (t *table) print(w io.Writer, title string) {
	fmt.Fprintf(w, "| %s | wall s | of %s | of %s | CPU s | MiB |\n|---|---|---|---|---|---|\n", title, t.rows[0].name, t.rows[1].name)
	for _, r := range t.rows {
		r.line(w, r.name, t.rows[0], t.rows[1])
	}
	fmt.Fprintln(w)
}

// line writes a row, with ratios to the wall time of others.
func (r *row) line(w io.Writer, name string, others ...*row) {
	wall := r.median(func(u usage) float64 { return u.wall.Seconds() })
	fmt.Fprintf(w, "| %s | %.2f |", name, wall)
	for _, other := range others {
		fmt.Fprintf(w, " %s |", ratio(wall, other))
	}
	fmt.Fprintf(w, " %.2f | %.0f |\n", r.median(func(u usage) float64 { return u.cpu.Seconds() }),
		r.median(func(u usage) float64 { return float64(u.memory) / (1 << 20) }))
}

func ratio(wall float64, to *row) string {
	return fmt.Sprintf("%.2f", wall/to.median(func(u usage) float64 { return u.wall.Seconds() }))
}

func (r *row) median(of func(usage) float64) float64 {
	var all []float64
	for _, u := range r.runs {
		all = append(all, of(u))
	}
	slices.Sort(all)
	return all[len(all)/2]
}
