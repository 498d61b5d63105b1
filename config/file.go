package config

import (
	"fmt"
	"net/url"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/platform"
)

// Parse reads a configuration; path is how errors name it. It follows no reference
// and asks nobody anything. The error is Errors.
func (ks Kinds) Parse(path string, data []byte) (*File, error) {
	d := &decoder{file: path, kinds: ks}
	f := &File{Path: path}
	root := d.parse(data)
	if root == nil || len(d.errs) > 0 {
		return nil, d.errs.err()
	}
	for k, v := range d.mapping("", root) {
		switch k.Value {
		case "agents":
			f.Agents = named(d, k.Value, v, d.agent)
		case "jobs":
			f.Jobs = named(d, k.Value, v, d.job)
		default:
			d.fail(k, join("", k.Value), "unknown key%s", meant(k.Value, []string{"agents", "jobs"}))
		}
	}
	if child(root, "agents") == nil {
		d.fail(root, "", "agents is missing: at least one place to keep backups at")
	}
	d.check(root, f)
	if err := d.errs.err(); err != nil {
		return nil, err
	}
	return f, nil
}

// named reads a mapping of names to what read makes of each.
func named[T any](d *decoder, key string, n *yaml.Node, read func(key, name string, n *yaml.Node) T) (all []T) {
	if n.Kind == yaml.MappingNode && len(n.Content) == 0 {
		d.fail(n, key, "is empty")
	}
	first := map[string]string{}
	for k, v := range d.mapping(key, n) {
		at := join(key, k.Value)
		d.name(at, k, first)
		all = append(all, read(at, k.Value, v))
	}
	return all
}

// name checks a name among others. Names are those of folders, and there are file
// systems that do not tell case.
func (d *decoder) name(key string, n *yaml.Node, first map[string]string) {
	if !isText(n) {
		return // which is said already
	}
	fold := strings.ToLower(n.Value)
	switch other, taken := first[fold]; {
	case !nameText.MatchString(n.Value):
		d.fail(n, key, "%q is not %s", clip(n.Value), nameWant)
	case taken && other == n.Value:
		d.fail(n, key, "the name %s is there twice", n.Value)
	case taken:
		d.fail(n, key, "the names %s and %s differ in case alone", other, n.Value)
	}
	first[fold] = n.Value
}

func (d *decoder) agent(key, name string, n *yaml.Node) Agent {
	a := Agent{Name: name}
	var kinds []string
	for _, k := range d.kinds.Agents {
		kinds = append(kinds, k.Name)
	}
	kind, options := d.one(key, n, reflect.ValueOf(&a.AgentOptions).Elem(), kinds, "agent")
	if options == nil {
		return a
	}
	i := slices.Index(kinds, kind)
	a.Kind, a.kind = kind, d.kinds.Agents[i]
	a.options = where{d.file, join(key, kind), options}
	a.Config = d.configOf(a)
	return a
}

// one reads an entry: the options of all kinds, and one kind, whose own options
// are returned.
func (d *decoder) one(key string, n *yaml.Node, v reflect.Value, kinds []string, what string) (string, *yaml.Node) {
	before := len(d.errs)
	found := d.object(key, n, v, kinds...)
	switch {
	case len(found) == 0 && len(d.errs) > before: // it may be what is wrong
	case len(found) == 0:
		d.fail(n, key, "says no kind of %s; known are %s", what, strings.Join(slices.Sorted(slices.Values(kinds)), ", "))
	case len(found) > 1:
		d.fail(found[1].key, key, "is both %s and %s: it is one kind of %s", found[0].key.Value, found[1].key.Value, what)
	default:
		return found[0].key.Value, found[0].value
	}
	return "", nil
}

// configOf reads the options of an agent.
func (d *decoder) configOf(a Agent) core.Config {
	c, key, n := a.kind.Config(), a.options.key, a.options.node
	if n.Kind != yaml.ScalarNode || !takesWord(a.kind) {
		d.object(key, n, reflect.ValueOf(c).Elem())
		return c
	}
	word := d.text(key, n, rule{path: true})
	if word == "" {
		return c
	}
	if err := c.SetURL(&url.URL{Path: word}); err != nil {
		d.fail(n, key, "%s", detail(err))
	}
	return c
}

// takesWord says whether a kind may be written as a word alone, which is a
// directory, as on a command line.
func takesWord(k core.Kind) bool { return slices.Contains(k.Schemes, "") }

// keepPending is how long archives wait where a job does not say.
const keepPending = 7 * 24 * time.Hour

func (d *decoder) job(key, name string, n *yaml.Node) Job {
	j := Job{Name: name, KeepPending: keepPending, at: where{d.file, key, n}}
	d.object(key, n, reflect.ValueOf(&j).Elem())
	return j
}

func (d *decoder) hook(key string, n *yaml.Node) Hook {
	h := Hook{entry: n}
	var kinds []string
	for _, k := range d.kinds.Hooks {
		kinds = append(kinds, k.Name())
	}
	kind, options := d.one(key, n, reflect.ValueOf(&h.HookOptions).Elem(), kinds, "hook")
	if options == nil {
		return h
	}
	h.Kind, h.kind = kind, d.kinds.Hooks[slices.Index(kinds, kind)]
	h.options = where{d.file, join(key, kind), options}
	d.object(h.options.key, options, reflect.ValueOf(h.kind.Config()).Elem())
	return h
}

// check compares what stands in different parts of the file.
func (d *decoder) check(root *yaml.Node, f *File) {
	d.checkPlaces(f)
	agents := map[string]Agent{}
	for _, a := range f.Agents {
		agents[a.Name] = a
	}
	for _, j := range f.Jobs {
		d.checkNames(j, agents)
		d.checkHooks(j.at.key+".hooks", items(j.at.node, "hooks"))
		if r := child(j.at.node, "restore"); r != nil {
			d.checkHooks(j.at.key+".restore.hooks", items(r, "hooks"))
		}
		d.checkPaths(j, agents)
		d.checkExclude(j)
	}
}

// checkExclude finds patterns that would be found only after an application was
// paused.
func (d *decoder) checkExclude(j Job) {
	for i, n := range items(j.at.node, "exclude") {
		if n.Value == "" {
			continue // which is said already
		}
		if err := platform.CheckExclude(n.Value); err != nil {
			d.fail(n, fmt.Sprintf("%s.exclude[%d]", j.at.key, i), "%s", detail(err))
		}
	}
}

// checkPlaces finds two names for one place: two copies there are one.
func (d *decoder) checkPlaces(f *File) {
	for i, a := range f.Agents {
		for _, b := range f.Agents[:i] {
			if a.Kind != "" && a.Kind == b.Kind && samePlace(a.Config, b.Config) {
				n := a.options.node
				d.fail(n, a.options.key, "is the same place as the agent %s: one copy would count as two", b.Name)
			}
		}
	}
}

func samePlace(a, b core.Config) bool {
	dir := localDir(a)
	return dir != "" && dir == localDir(b) || reflect.DeepEqual(a, b)
}

// localDir is the directory of an agent on this machine, or "".
func localDir(c core.Config) string {
	if l, ok := c.(interface{ LocalDir() string }); ok {
		return l.LocalDir()
	}
	return ""
}

// checkNames finds agents that are not there, and more copies than there can be.
func (d *decoder) checkNames(j Job, agents map[string]Agent) {
	var known, to []string
	for name := range agents {
		known = append(known, name)
	}
	for i, n := range items(j.at.node, "to") {
		to = append(to, n.Value)
		if _, ok := agents[n.Value]; !ok && n.Value != "" {
			d.fail(n, fmt.Sprintf("%s.to[%d]", j.at.key, i), "no agent %q%s", clip(n.Value), meant(n.Value, known))
		}
	}
	for i, n := range items(j.at.node, "require") {
		if !slices.Contains(to, n.Value) && n.Value != "" {
			d.fail(n, fmt.Sprintf("%s.require[%d]", j.at.key, i), "%q is none of to%s", clip(n.Value), meant(n.Value, to))
		}
	}
	if j.Copies > len(to) && len(to) > 0 {
		d.fail(child(j.at.node, "copies"), j.at.key+".copies", "%d copies are asked for, and to names %d", j.Copies, len(to))
	}
}

func (d *decoder) checkHooks(key string, hooks []*yaml.Node) {
	first := map[string]string{}
	for i, h := range hooks {
		if n := child(h, "name"); n != nil && n.Value != "" {
			d.name(fmt.Sprintf("%s[%d].name", key, i), n, first)
		}
	}
}

// checkPaths finds what would be left out of a backup: it lies in a place that
// backups are kept at.
func (d *decoder) checkPaths(j Job, agents map[string]Agent) {
	if j.at.node.Kind == yaml.MappingNode && child(j.at.node, "paths") == nil && child(j.at.node, "hooks") == nil {
		d.fail(j.at.node, j.at.key, "nothing to back up: give paths, or hooks that write into their folder")
	}
	for i, n := range items(j.at.node, "paths") {
		for _, to := range j.To {
			dir := localDir(agents[to].Config)
			if rel, err := filepath.Rel(dir, n.Value); dir != "" && filepath.IsAbs(n.Value) && err == nil && filepath.IsLocal(rel) {
				d.fail(n, fmt.Sprintf("%s.paths[%d]", j.at.key, i), "lies in the agent %s, which is left out of the backup", to)
			}
		}
	}
}
