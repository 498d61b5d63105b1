package conformance

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"time"
)

// ReportSchema is the version of the JSON of a Report.
const ReportSchema = "1.0"

// A Status is how a case ended.
type Status string

// The statuses. Only Pass and NotApplicable let an agent through.
const (
	Pass          Status = "pass"
	Fail          Status = "fail"
	NotApplicable Status = "n/a"          // the target declared why it cannot have this; Reason has it
	Inconclusive  Status = "inconclusive" // what was to be tried did not happen, such as a fault that did not fire
)

// A Report is the result of one run of the suite.
type Report struct {
	Schema  string    `json:"schema"`
	Seed    uint64    `json:"seed,string"`
	OS      string    `json:"os"`
	Arch    string    `json:"arch"`
	Go      string    `json:"go"`
	Started time.Time `json:"started"`
	Short   bool      `json:"short"`
	Totals  Totals    `json:"totals"`
	// Interrupted says that the context ended before the last case.
	Interrupted bool     `json:"interrupted,omitempty"`
	Cases       []Result `json:"cases"`
}

// Totals counts the results by status.
type Totals struct {
	Pass          int `json:"pass"`
	Fail          int `json:"fail"`
	NotApplicable int `json:"na"`
	Inconclusive  int `json:"inconclusive"`
}

// A Result is how one case ended.
type Result struct {
	ID      string `json:"id"`
	Words   string `json:"words"`
	Level   Level  `json:"level"`
	Status  Status `json:"status"`
	Reason  string `json:"reason,omitempty"`  // of NotApplicable and Inconclusive: "raw: why", "fault: which"
	Millis  int64  `json:"ms"`                //
	Message string `json:"message,omitempty"` // the block for people, unless it passed
}

// OK says whether every case ran, and passed or does not apply.
func (r Report) OK() bool {
	return !r.Interrupted && r.Totals.Fail == 0 && r.Totals.Inconclusive == 0
}

// JSON returns the report as a JSON document.
func (r Report) JSON() ([]byte, error) { return json.MarshalIndent(r, "", " ") }

func (r *Report) add(res Result) {
	r.Cases = append(r.Cases, res)
	switch res.Status {
	case Pass:
		r.Totals.Pass++
	case NotApplicable:
		r.Totals.NotApplicable++
	case Inconclusive:
		r.Totals.Inconclusive++
	default:
		r.Totals.Fail++
	}
}

func newReport(seed uint64, short bool) Report {
	return Report{
		Schema: ReportSchema, Seed: seed, Short: short, Started: time.Now().UTC().Truncate(time.Second),
		OS: runtime.GOOS, Arch: runtime.GOARCH, Go: runtime.Version(),
	}
}

// block is the text of a case that did not pass.
func (c Case) block(v verdict, done []string, seed uint64, within string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: %s\n", c.ID, strings.ReplaceAll(c.Words, "_", " "), v.status)
	line := func(word, text string) {
		fmt.Fprintf(&b, "  %-9s %s\n", word, strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n            "))
	}
	line("clause", c.Clause)
	for i, d := range done {
		word := "done"
		if i > 0 {
			word = ""
		}
		line(word, d)
	}
	line("expected", v.expected)
	line("observed", v.observed)
	line("why", c.Why)
	line("again", fmt.Sprintf("%s=%d go test -run '^%s$/^%s$'", seedVariable, seed, within, c.Name()))
	return b.String()
}
