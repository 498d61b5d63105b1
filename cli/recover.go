package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/platform"
)

const recoverHelp = `Does what runs that were killed, or agents that were away, left to be done: ends
what is left of hooks and runs the posts that are owed, sends archives that wait
for agents, and removes leftovers here and at the agents of the configuration. It
leaves alone what belongs to a run that lives. Run it when the machine starts.

Posts that are owed run even when the configuration is wrong: what they need was
written down when their hooks began.

Exit codes: 0 nothing is left to be done; 1 failed; 2 the command line or the
configuration is wrong; 3 something is left: a post that cannot run, an agent that
is still away; 130 interrupted.

With --json the result is one line:

  {"v":1,"payments":[…],"sent":[…],"left":[…],"killed":[…]}

payments and sent are as "payments" and "resent" of "offsite run"; left are texts;
killed are the ids of runs that were killed, and whose backup is not sent by now.`

func (a *app) recoverCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "recover",
		Short: "Do what killed runs and absent agents left to be done",
		Long:  recoverHelp,
		Args:  arguments(0, 0, "no arguments"),
		RunE: a.run("what was sent by now is not sent again; do the same again",
			func(ctx context.Context, _ []string) error { return a.recover(ctx) }),
	}
	a.jsonOption(cmd)
	return cmd
}

func (a *app) recover(ctx context.Context) (err error) {
	if err := a.hasState(); err != nil {
		return err
	}
	s, err := a.connectAll(ctx)
	if err != nil {
		return a.payAlone(ctx, err)
	}
	defer func() { err = errors.Join(err, s.close()) }()
	ended := a.watch(s)
	done, err := s.Recover(ctx)
	ended()
	a.mourn(done.Killed)
	return errors.Join(a.printRecovered(done), err, unfinished(done))
}

// payAlone is a recover that knows no agents because of what is wrong: an
// application that was paused goes on all the same.
func (a *app) payAlone(ctx context.Context, wrong error) error {
	if _, err := os.Stat(a.stateDir()); err != nil {
		return wrong
	}
	s, err := a.session()
	if err != nil {
		return errors.Join(wrong, err)
	}
	done, err := s.Recover(ctx)
	a.mourn(done.Killed)
	if len(done.Payments) == 0 {
		return errors.Join(wrong, err)
	}
	done.Sent, done.Left = nil, nil                      // nobody was asked
	wrong = result{exitUsage, errors.New(wrong.Error())} // and something was touched
	return errors.Join(a.printRecovered(done), wrong, err, unfinished(done))
}

// connectAll opens all agents of the configuration.
func (a *app) connectAll(ctx context.Context) (*session, error) {
	f, err := a.configuration()
	if err != nil {
		return nil, err
	}
	return a.connect(ctx, a.placesOf(f))
}

// unfinished is the error of a recover with work left.
func unfinished(done platform.Recovery) error {
	errs := slices.Clone(done.Left)
	for _, p := range done.Payments {
		errs = append(errs, p.Err)
	}
	for _, r := range done.Sent {
		errs = append(errs, r.Err)
	}
	return standing(slices.DeleteFunc(errs, func(err error) bool { return err == nil }))
}

type recoveredLine struct {
	V        int           `json:"v"`
	Payments []paymentLine `json:"payments"`
	Sent     []resentLine  `json:"sent"`
	Left     []string      `json:"left"`
	Killed   []core.ID     `json:"killed"`
}

func (a *app) printRecovered(done platform.Recovery) error {
	if a.json {
		l := recoveredLine{1, paymentLines(done.Payments), resentLines(done.Sent), []string{}, killedIDs(done.Killed)}
		for _, err := range done.Left {
			l.Left = append(l.Left, err.Error())
		}
		return a.printJSON(l)
	}
	a.printEarlier("", done.Payments, done.Sent)
	a.printf("recovered: %s\n", summary(done))
	return nil
}

// summary is a recover in one line.
func summary(done platform.Recovery) string {
	paid, stored := 0, 0
	for _, p := range done.Payments {
		if !p.Owed && p.Err == nil {
			paid++
		}
	}
	for _, r := range done.Sent {
		if r.Outcome == core.OK {
			stored++
		}
	}
	var parts []string
	if n := len(done.Payments); n > 0 {
		parts = append(parts, fmt.Sprintf("%d of %s undone", paid, count(int64(n), "hook", "hooks")))
	}
	if n := len(done.Sent); n > 0 {
		parts = append(parts, fmt.Sprintf("%d of %s sent", stored, count(int64(n), "backup", "backups")))
	}
	if len(done.Left) > 0 {
		parts = append(parts, "something is left to be cleared up")
	}
	if len(parts) == 0 {
		return "nothing was left to be done"
	}
	return strings.Join(parts, ", ")
}
