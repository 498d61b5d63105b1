package cli

import (
	"context"
	"fmt"
	"iter"
	"net/url"
	"os"

	"github.com/offsite-backup/offsite/agents/local"
	"github.com/offsite-backup/offsite/core"
)

// faultyKind is a place in a directory that goes wrong: faulty://dead/DIR does not
// answer, faulty://away/DIR does not while there is a file DIR.away,
// faulty://closed/DIR cannot be opened, faulty://hanging/DIR tells of progress and then takes until its context
// ends, and faulty://stubborn/DIR does not care for that either.
func faultyKind() core.Kind {
	return core.Kind{
		Name: "faulty", Schemes: []string{"faulty"}, Summary: "a place that goes wrong",
		Config: func() core.Config { return &faulty{} },
	}
}

type faulty struct {
	How string `config:"required"`
	Dir string `config:"path"`
}

func (f *faulty) SetURL(u *url.URL) error {
	f.How, f.Dir = u.Host, u.Path
	return nil
}

func (f *faulty) Place() string { return "faulty:" + f.How }

func (f *faulty) Open(ctx context.Context, env core.Env) (core.Agent, error) {
	agent, err := (&local.Config{Dir: f.Dir}).Open(ctx, env)
	_, here := os.Stat(f.Dir + ".away")
	switch {
	case err != nil:
		return nil, err
	case f.How == "closed":
		return nil, core.Errorf(core.ErrUnavailable, "no route to host")
	case f.How == "away" && here != nil:
		return agent, nil
	case f.How == "dead" || f.How == "away":
		return dead{agent}, nil
	}
	return hanging{agent, env, f.How == "stubborn"}, nil
}

type hanging struct {
	core.Agent
	env      core.Env
	stubborn bool
}

func (h hanging) Upload(ctx context.Context, src core.Source) error {
	h.env.Progress(core.Progress{Agent: h.Name(), ID: src.Draft().ID, Done: 1 << 20, Total: 4 << 20})
	fmt.Fprintln(os.Stderr, "hanging")
	if h.stubborn {
		select {}
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

type dead struct{ core.Agent }

func (d dead) fail(op string, id core.ID) error {
	return &core.Error{Kind: core.ErrUnavailable, Agent: d.Name(), Op: op, ID: id, Detail: "no answer"}
}

func (d dead) Upload(_ context.Context, src core.Source) error {
	return d.fail("upload", src.Draft().ID)
}

func (d dead) Open(_ context.Context, id core.ID) (core.Archive, error) {
	return nil, d.fail("open", id)
}

func (d dead) List(context.Context) iter.Seq2[core.Backup, error] {
	return func(yield func(core.Backup, error) bool) { yield(core.Backup{}, d.fail("list", "")) }
}

func (d dead) Get(_ context.Context, id core.ID) (core.Backup, error) {
	return core.Backup{}, d.fail("get", id)
}

func (d dead) Delete(_ context.Context, id core.ID) error { return d.fail("delete", id) }
