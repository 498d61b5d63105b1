package reference

import (
	"bytes"
	"context"
	"io"
	"os"
	"sync"

	"github.com/offsite-backup/offsite/conformance"
	"github.com/offsite-backup/offsite/core"
)

func brokenFiles() []mutant {
	return []mutant{
		{name: "moves a sealed file away", kills: "A14", with: afterFile(os.Remove)},
		{name: "closes a sealed file to its owner", kills: "A14", with: afterFile(func(path string) error { return os.Chmod(path, 0o400) })},
		{name: "goes on in a sealed file", kills: "A14", with: afterFile(func(path string) error {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.WriteAt([]byte("!"), 0)
			return err
		})},
		{name: "takes a file for sealed that is not", kills: "A14", with: onUpload(func(ctx context.Context, a core.Agent, src core.Source) error {
			file, ok := src.(core.SealedFile)
			if !ok {
				return a.Upload(ctx, src)
			}
			body, err := os.ReadFile(file.SealedFile())
			if err != nil {
				return err
			}
			return a.Upload(ctx, &altered{Source: src, reader: func(io.ReaderAt) io.ReaderAt { return bytes.NewReader(body) }})
		})},
		{name: "stores the name of a sealed file", kills: "A14", with: func(r *rig) {
			var paths sync.Map // by id
			r.agent = func(a core.Agent, _ conformance.Namespace, _ conformance.Raw) *broken {
				return &broken{
					upload: func(ctx context.Context, src core.Source) error {
						if file, ok := src.(core.SealedFile); ok {
							paths.Store(src.Draft().ID, file.SealedFile())
						}
						return a.Upload(ctx, src)
					},
					open: func(ctx context.Context, id core.ID) (core.Archive, error) {
						if path, ok := paths.Load(id); ok {
							if _, err := os.Stat(path.(string)); err != nil {
								return nil, core.Errorf(core.ErrDamaged, "the file is gone")
							}
						}
						return a.Open(ctx, id)
					},
				}
			}
		}},
	}
}

// afterFile does something to a sealed file that was uploaded.
func afterFile(f func(path string) error) func(*rig) {
	return onUpload(func(ctx context.Context, a core.Agent, src core.Source) error {
		err := a.Upload(ctx, src)
		if file, ok := src.(core.SealedFile); ok && err == nil {
			return f(file.SealedFile())
		}
		return err
	})
}
