package reference

import (
	"context"
	"errors"
	"iter"
	"strings"

	"github.com/offsite-backup/offsite/conformance"
	"github.com/offsite-backup/offsite/core"
)

func brokenPlaces() []mutant {
	return []mutant{
		{name: "ignores the error of Close", kills: "C12", with: onSteps(func(s conformance.Step, gate conformance.Gate) conformance.Fault {
			if f := gate(s); s.Op != conformance.StepClose {
				return f
			}
			return conformance.NoFault
		})},
		{name: "says of a full place that it may pass", kills: "C12", with: onUpload(func(ctx context.Context, a core.Agent, src core.Source) error {
			return kindly(a.Upload(ctx, src), core.ErrNoSpace, core.ErrUnavailable)
		})},
		{name: "does not sync files", kills: "C13", with: skipping(conformance.StepSync)},
		{name: "does not sync folders", kills: "C13", with: skipping(conformance.StepSyncDir)},
		{name: "cuts long names", kills: "L01", with: onPlace(func(q request, ask asked) response {
			i := strings.LastIndex(q.Key, "/")
			if name := q.Key[i+1:]; len(name) > 100 && strings.HasPrefix(name, "xxx") {
				q.Key = q.Key[:i+101]
			}
			return ask(q)
		})},
		{name: "looks for ids that are none", kills: "L01", with: onGet(func(ctx context.Context, a core.Agent, id core.ID) (core.Backup, error) {
			b, err := a.Get(ctx, id)
			return b, kindly(err, core.ErrInvalid, core.ErrNotFound)
		})},
		{name: "folds the case of names", kills: "L02", also: []string{"L01", "L05"}, with: onPlace(func(q request, ask asked) response {
			i := strings.LastIndex(q.Key, "/")
			if name := q.Key[i+1:]; q.Op != list && len(name) < 10 {
				q.Key = q.Key[:i+1] + strings.ToLower(name)
			}
			return ask(q)
		})},
		{name: "stores archives under any key", kills: "L03", with: onAgent(func(a core.Agent, ns conformance.Namespace, raw conformance.Raw) *broken {
			return &broken{upload: func(ctx context.Context, src core.Source) error {
				err := a.Upload(ctx, src)
				if d := src.Draft(); errors.Is(err, core.ErrInvalid) && d.ID.Validate() == nil && strings.Contains(d.Archive, "..") {
					return raw.Put(ctx, ns, d.Archive, nil)
				}
				return err
			}}
		})},
		{name: "deletes by a prefix", kills: "L05", also: []string{"L01"}, with: onAgent(func(a core.Agent, ns conformance.Namespace, raw conformance.Raw) *broken {
			return &broken{delete: func(ctx context.Context, id core.ID) error {
				if err := a.Delete(ctx, id); err != nil {
					return err
				}
				keys, err := raw.List(ctx, ns)
				for _, k := range keys {
					if strings.HasPrefix(k, "data/"+string(id)) || strings.HasPrefix(k, "meta/"+string(id)) {
						err = errors.Join(err, raw.Delete(ctx, ns, k))
					}
				}
				return err
			}}
		})},
		{name: "a namespace ends at its first slash", kills: "M01", with: func(r *rig) {
			r.space = func(ns conformance.Namespace) conformance.Namespace {
				first, _, _ := strings.Cut(string(ns), "/")
				return conformance.Namespace(first)
			}
		}},
		{name: "sweeps beside its place", kills: "M02", with: onAgent(func(a core.Agent, ns conformance.Namespace, raw conformance.Raw) *broken {
			return &broken{sweep: func(ctx context.Context, own func(core.ID) bool) iter.Seq2[core.Leftover, error] {
				_ = raw.Delete(ctx, ns+"0", "tmp/part") // memory does not fail
				return a.(core.Sweeper).Sweep(ctx, own)
			}}
		})},
		{name: "files that others may read", kills: "M04", with: onPlace(func(q request, ask asked) response {
			if q.Mode != 0 {
				q.Mode = 0o644
			}
			return ask(q)
		})},
		{name: "leaves a temporary object that it does not list", kills: "Q03", also: []string{"C07", "C08"}, with: onPlace(func(q request, ask asked) response {
			if q.Op == commit {
				ask(request{Op: begin, Key: q.Key + "-copy", Token: q.Token})
			}
			return ask(q)
		})},
		{name: "a target that lacks what it has", kills: "Q04", with: func(r *rig) {
			r.lacks = map[conformance.Means]string{conformance.MeansRaw: "nobody has written it"}
		}},
	}
}

// skipping does not take one kind of step.
func skipping(op conformance.StepOp) func(*rig) {
	return onSteps(func(s conformance.Step, gate conformance.Gate) conformance.Fault {
		if s.Op == op {
			return conformance.NoFault
		}
		return gate(s)
	})
}
