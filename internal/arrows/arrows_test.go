package arrows

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestModule reads the imports of every Go file of the module that is no test.
func TestModule(t *testing.T) {
	root := moduleRoot(t)
	files := 0
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if base := entry.Name(); name != "." && (base == "testdata" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_")) {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		files++
		src, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		all, err := broken(name, src)
		for _, b := range all {
			t.Error(b)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if files < 20 {
		t.Errorf("only %d files were read", files)
	}
}

func moduleRoot(t *testing.T) fs.FS {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	root := os.DirFS(dir)
	mod, err := fs.ReadFile(root, "go.mod")
	if err != nil || !strings.HasPrefix(string(mod), "module "+module+"\n") {
		t.Fatalf("%s is not the root of the module: %v", dir, err)
	}
	return root
}

func source(imports ...string) []byte {
	src := "//go:build plan9\n\npackage x\n"
	for _, i := range imports {
		src += fmt.Sprintf("import _ %q\n", i)
	}
	return []byte(src)
}

// TestRules shows that each rule can fail, and on what.
func TestRules(t *testing.T) {
	tests := map[string][]string{ // rule: file and import
		"core imports the standard library only": {
			"core/x.go golang.org/x/sys/unix",
			"core/x.go github.com/minio/crc64nvme",
			"core/x_windows.go " + module + "/core/object",
		},
		"core/... never imports an agent, a hook, a provider SDK, cli, config, conformance or testing": {
			"core/x.go testing",
			"core/object/x.go testing/fstest",
			"core/object/x.go " + module + "/agents/local",
			"core/platform/x.go " + module + "/hooks/command",
			"core/platform/x.go " + module + "/cli",
			"core/platform/x.go " + module + "/config",
			"core/filetree/faulty/x.go " + module + "/conformance",
			"core/transfer/x.go github.com/aws/aws-sdk-go-v2/aws",
			"core/filetree/x.go github.com/pkg/sftp",
		},
		"an agent imports core, core/object, core/option, core/transport and nothing else of ours; local and sftp also core/disk and core/filetree": {
			"agents/s3/x.go " + module + "/agents/gcs",
			"agents/s3/x.go " + module + "/core/disk",
			"agents/s3/x.go " + module + "/core/filetree",
			"agents/s3/x.go " + module + "/core/platform",
			"agents/local/x.go " + module + "/core/platform",
			"agents/local/x.go " + module + "/core/filetree/faulty",
			"agents/sftp/deep/x.go " + module + "/conformance",
			"agents/local/x.go " + module + "/cli",
		},
		"a provider SDK is imported by its own agent and nobody else": {
			"agents/s3/x.go cloud.google.com/go/storage",
			"agents/gcs/x.go github.com/aws/aws-sdk-go-v2/service/s3",
			"agents/local/x.go github.com/Azure/azure-sdk-for-go/sdk/azcore",
			"agents/azure/x.go golang.org/x/crypto/ssh/agent",
			"cli/x.go google.golang.org/api/option",
			"conformance/x.go github.com/pkg/sftp",
			"cmd/offsite/x.go github.com/minio/minio-go/v7",
		},
		"a hook kind imports core and its own library, nothing else of ours": {
			"hooks/http/x.go " + module + "/hooks/command",
			"hooks/http/x.go " + module + "/core/platform",
			"hooks/command/x.go " + module + "/config",
		},
		"conformance imports core/... and testing, never an agent or anything else of ours": {
			"conformance/x.go " + module + "/agents/local",
			"conformance/emulator/x.go " + module + "/agents/s3",
			"conformance/reference/x.go " + module + "/cli",
		},
		"config imports core, core/option and core/platform, nothing else of ours": {
			"config/x.go " + module + "/hooks/command",
			"config/x.go " + module + "/cli",
		},
		"only cmd/offsite names the agents": {
			"cli/x.go " + module + "/agents/local",
			"config/x.go " + module + "/agents/s3",
			"agents/s3/x.go " + module + "/agents/local",
			"cmd/other/x.go " + module + "/agents/s3",
			"x.go " + module + "/agents/s3",
		},
		"nobody imports cmd": {
			"cli/x.go " + module + "/cmd/offsite",
			"cmd/other/x.go " + module + "/cmd",
		},
		"only conformance imports testing": {
			"cli/x.go testing",
			"agents/local/x.go testing/iotest",
			"internal/x/x.go testing",
		},
	}
	for _, r := range rules {
		if len(tests[r.says]) == 0 {
			t.Errorf("nothing shows that this can fail: %s", r.says)
		}
	}
	for says, cases := range tests {
		for _, c := range cases {
			name, imported, _ := strings.Cut(c, " ")
			all, err := broken(name, source("fmt", imported))
			ends := func(b string) bool { return strings.HasPrefix(b, name+" imports ") && strings.HasSuffix(b, ": "+says) }
			if err != nil || !slices.ContainsFunc(all, ends) {
				t.Errorf("%s is let through by %q: %v, %v", c, says, all, err)
			}
		}
	}
}

// TestAllowed shows that the rules let through what the module is made of.
func TestAllowed(t *testing.T) {
	for name, imports := range map[string][]string{
		"core/x.go":                 {"crypto/sha256", "testingx"},
		"core/object/x.go":          {module + "/core", module + "/core/transfer", "github.com/minio/crc64nvme"},
		"core/platform/x.go":        {module + "/core/archive", module + "/internal/x", "github.com/gofrs/flock", "golang.org/x/crypto/sshx"},
		"agents/local/x.go":         {module + "/core", module + "/core/object", module + "/core/disk", module + "/core/filetree", "golang.org/x/sys/unix"},
		"agents/s3/x.go":            {module + "/core", module + "/core/object", module + "/core/transport", module + "/agents/s3/sign", "github.com/aws/aws-sdk-go-v2", "github.com/aws/smithy-go"},
		"agents/sftp/x.go":          {module + "/core/filetree", "github.com/pkg/sftp", "golang.org/x/crypto/ssh"},
		"hooks/command/x.go":        {module + "/core", module + "/hooks/command/group", "github.com/lib/pq"},
		"conformance/x.go":          {module + "/core", module + "/core/object", module + "/conformance/reference", "testing"},
		"conformance/emulator/x.go": {"github.com/pkg/sftp", "testing"},
		"cli/x.go":                  {module + "/core", module + "/core/platform", module + "/config", module + "/conformance", "github.com/spf13/cobra"},
		"cmd/offsite/x.go":          {module + "/cli", module + "/core", module + "/agents/local", module + "/agents/s3"},
	} {
		if all, err := broken(name, source(imports...)); all != nil || err != nil {
			t.Errorf("%v, %v", all, err)
		}
	}
}

func TestBrokenReadsWhatGoReads(t *testing.T) {
	src := "package x\n\nimport (\n\t. \"fmt\"\n\tother `" + module + "/agents/s3`\n)\n\nfunc init() { broken }"
	if all, err := broken("cli/x.go", []byte(src)); len(all) != 1 || err != nil {
		t.Errorf("%v, %v", all, err)
	}
	if _, err := broken("cli/x.go", []byte("no Go")); err == nil {
		t.Error("what is no Go has no imports")
	}
}
