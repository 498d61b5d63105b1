package archive_test

import (
	"context"
	"io"
	"os"
	"testing"

	"github.com/offsite-backup/offsite/core/archive"
	"github.com/offsite-backup/offsite/internal/treediff"
)

// What a Reader lists is what its tar stream has, over several tables, and a
// directory of an archive is restored with that.
func TestExtractListed(t *testing.T) {
	dir := shm(t)
	someTree(t, dir, 2500)
	p := pack(t, archive.Options{Paths: []string{dir}})
	r := p.open(t)
	for _, below := range []string{"", "/3", "/6"} { // of the last, one file has its content in the one before
		to := shm(t)
		restoreBelow(t, r, dir+below, to)
		lines, err := treediff.Diff(dir+below, to)
		must(t, err)
		for _, line := range lines {
			t.Error(line)
		}
	}
}

func restoreBelow(t *testing.T, r *archive.Reader, below, to string) {
	t.Helper()
	root, err := os.OpenRoot(to)
	must(t, err)
	defer root.Close()
	stream := func(ctx context.Context, name string) (io.ReadCloser, archive.Entry, error) {
		e, err := r.Find(ctx, name)
		must(t, err)
		in, err := r.Tar(ctx, e)
		return in, e, err
	}
	in, _, err := stream(t.Context(), below)
	must(t, err)
	defer in.Close()
	stats, err := archive.Extract(t.Context(), in, root, archive.ExtractOptions{
		Below: below, Expect: r.List(t.Context(), below), Content: stream,
		Report: func(o archive.Oddity) { t.Error(o) },
	})
	must(t, err)
	if stats.Entries == 0 {
		t.Error("nothing restored")
	}
}
