// Package arrows says which package of this module may import which, and holds
// every file to it. Imports are read from the files: what `go list` says is not
// seen by the test cache, and leaves out files of other systems.
package arrows

import (
	"go/parser"
	"go/token"
	"path"
	"slices"
	"strconv"
	"strings"
)

// module is this module's path.
const module = "github.com/offsite-backup/offsite"

// A rule is one sentence about imports.
type rule struct {
	says   string
	breaks func(dir, imported string) bool
}

// rules are those of the whole module. dir is a folder of the module, imported the
// path of an import; one of this module is "./" and its folder.
var rules = []rule{
	{
		"core imports the standard library only",
		func(dir, imported string) bool { return dir == "core" && !standard(imported) },
	},
	{
		"core/... never imports an agent, a hook, a provider SDK, cli, config, conformance or testing",
		func(dir, imported string) bool {
			return below(dir, "core") && (belowAny(imported, "./agents", "./hooks", "./cli", "./config", "./conformance", "testing") || sdkOf(imported) != "")
		},
	},
	{
		"an agent imports core, core/object, core/option, core/transport and nothing else of ours; local and sftp also core/disk and core/filetree",
		func(dir, imported string) bool {
			agent := second(dir, "agents")
			if agent == "" || !ours(imported) || below(imported, "./agents/"+agent) {
				return false
			}
			tree := (imported == "./core/disk" || imported == "./core/filetree") && (agent == "local" || agent == "sftp")
			return imported != "./core" && imported != "./core/object" && imported != "./core/option" && imported != "./core/transport" && !tree
		},
	},
	{
		"a provider SDK is imported by its own agent and nobody else",
		func(dir, imported string) bool {
			// Servers for tests are made of what their providers offer.
			return sdkOf(imported) != "" && sdkOf(imported) != second(dir, "agents") && !below(dir, "conformance/emulator")
		},
	},
	{
		"a hook kind imports core and its own library, nothing else of ours",
		func(dir, imported string) bool {
			hook := second(dir, "hooks")
			return hook != "" && ours(imported) && imported != "./core" && !below(imported, "./hooks/"+hook)
		},
	},
	{
		"conformance imports core/... and testing, never an agent or anything else of ours",
		func(dir, imported string) bool {
			return below(dir, "conformance") && ours(imported) && !belowAny(imported, "./core", "./conformance")
		},
	},
	{
		"config imports core, core/option and core/platform, nothing else of ours",
		func(dir, imported string) bool {
			return below(dir, "config") && ours(imported) && imported != "./core" && imported != "./core/option" && imported != "./core/platform"
		},
	},
	{
		"only cmd/offsite names the agents",
		func(dir, imported string) bool {
			agent := second(imported, "./agents")
			return agent != "" && dir != "cmd/offsite" && !below(dir, "agents/"+agent)
		},
	},
	{
		"nobody imports cmd",
		func(_, imported string) bool { return below(imported, "./cmd") },
	},
	{
		"only conformance imports testing",
		func(dir, imported string) bool { return below(imported, "testing") && !below(dir, "conformance") },
	},
}

// sdks are the libraries of providers, by the agent that they belong to.
var sdks = map[string][]string{
	"s3":    {"github.com/aws", "github.com/minio/minio-go"},
	"gcs":   {"cloud.google.com/go", "google.golang.org/api", "golang.org/x/oauth2"},
	"azure": {"github.com/Azure"},
	"sftp":  {"github.com/pkg/sftp", "golang.org/x/crypto/ssh"},
}

func sdkOf(imported string) string {
	for agent, paths := range sdks {
		if belowAny(imported, paths...) {
			return agent
		}
	}
	return ""
}

// broken returns the rules that a Go file breaks, each with the import. name is the
// file's path in the module, with slashes; src is its content.
func broken(name string, src []byte) ([]string, error) {
	file, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ImportsOnly)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, err
		}
		if below(imported, module) {
			imported = "." + strings.TrimPrefix(imported, module)
		}
		for _, r := range rules {
			if r.breaks(path.Dir(name), imported) {
				all = append(all, name+" imports "+imported+": "+r.says)
			}
		}
	}
	return all, nil
}

func ours(imported string) bool { return below(imported, ".") }

// standard says whether a package comes with Go: its path begins with no domain.
func standard(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	return !strings.Contains(first, ".")
}

func below(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }

func belowAny(p string, dirs ...string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool { return below(p, dir) })
}

// second returns the name below dir in p: "s3" of agents/s3/x below agents.
func second(p, dir string) string {
	rest, ok := strings.CutPrefix(p, dir+"/")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	return name
}
