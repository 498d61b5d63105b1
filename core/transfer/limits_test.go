package transfer_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/offsite-backup/offsite/core/transfer"
)

const (
	mib = 1 << 20
	gib = 1 << 30
	tib = 1 << 40
)

var (
	like3 = transfer.Limits{PartSize: 16 * mib, MaxPart: 5 * gib, MaxParts: 10_000}   // S3
	likeB = transfer.Limits{PartSize: 8 * mib, MaxPart: 4000 * mib, MaxParts: 50_000} // Azure Blob
)

// fits says whether an archive of size bytes fits into parts that were planned to
// have part bytes.
func fits(l transfer.Limits, part, size int64) bool {
	for i := 0; i < l.MaxParts && size > 0; i++ {
		size -= min(size, l.SizeOf(part, i))
	}
	return size <= 0
}

func TestPlan(t *testing.T) {
	tests := []struct {
		limits     transfer.Limits
		size, want int64
	}{
		{like3, 0, 16 * mib},
		{like3, 1, 16 * mib},
		{like3, 9000 * 16 * mib, 16 * mib},
		{like3, 9000*16*mib + 1, 17 * mib},
		{like3, tib, 117 * mib},
		{like3, 5 * tib, 583 * mib},
		{like3, 10_000 * 5 * gib, 5 * gib},
		{like3, 1<<63 - 1, 5 * gib},
		{likeB, tib, 24 * mib},
		{transfer.Limits{PartSize: 7}, tib, 7},
		{transfer.Limits{PartSize: 9, MaxPart: 7}, tib, 7},
		{transfer.Limits{PartSize: 7, MaxParts: 1}, 5 * mib, 5 * mib},
		{transfer.Limits{PartSize: 7, MaxParts: 2}, 5 * mib, 5 * mib},
	}
	for _, test := range tests {
		if got := test.limits.Plan(test.size); got != test.want {
			t.Errorf("%+v: %d bytes in parts of %d, want %d", test.limits, test.size, got, test.want)
		}
	}
}

func TestPlanFitsAnySize(t *testing.T) {
	for name, l := range map[string]transfer.Limits{"S3": like3, "Azure Blob": likeB} {
		t.Run(name, func(t *testing.T) {
			most := l.MaxPart * int64(l.MaxParts)
			rapid.Check(t, func(t *rapid.T) {
				size := rapid.OneOf(rapid.Int64Range(0, most), rapid.Int64Range(most-tib, most), rapid.Int64Range(0, tib)).Draw(t, "size")
				part := l.Plan(size)
				if part < l.PartSize || part > l.MaxPart {
					t.Fatalf("parts of %d", part)
				}
				if !fits(l, part, size) {
					t.Fatalf("%d bytes do not fit into parts of %d", size, part)
				}
				// What fits into nine tenths of the parts has equal ones, as some places demand.
				if n := (size + part - 1) / part; size < most/10*9 && n > 0 && l.SizeOf(part, int(n)-1) != part {
					t.Fatalf("part %d of %d bytes in %d has another size", n, size, part)
				}
			})
		})
	}
}

func TestSourceOutgrowsItsPlan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := transfer.Limits{PartSize: rapid.Int64Range(1, 64*mib).Draw(t, "part size"), MaxParts: rapid.IntRange(2, 60_000).Draw(t, "most parts")}
		bound := rapid.Int64Range(1, 50*tib).Draw(t, "bound")
		if !fits(l, l.Plan(bound), 100*bound) {
			t.Fatalf("a hundred times %d bytes do not fit", bound)
		}
	})
	// Where a part must not be larger than MaxPart, the reserve is what it is.
	rapid.Check(t, func(t *rapid.T) {
		bound := rapid.Int64Range(0, 40*tib).Draw(t, "bound")
		if l := like3; !fits(l, l.Plan(bound), min(max(1, 100*bound), bound+3*tib)) {
			t.Fatalf("bound %d", bound)
		}
		if l := like3; !fits(l, l.Plan(0), 3*tib) {
			t.Fatal("3 TiB of which nothing was known do not fit")
		}
	})
}

func TestSizeOfNeverShrinks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := transfer.Limits{
			PartSize: rapid.Int64Range(1, 64*mib).Draw(t, "part size"),
			MaxPart:  rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(1, 5*gib)).Draw(t, "most in a part"),
			MaxParts: rapid.IntRange(0, 20_000).Draw(t, "most parts"),
		}
		part := l.Plan(rapid.Int64().Draw(t, "size"))
		last := part
		for i := range l.MaxParts + 3 {
			size := l.SizeOf(part, i)
			if size < last || l.MaxPart > 0 && size > l.MaxPart {
				t.Fatalf("part %d has %d bytes, the one before %d", i, size, last)
			}
			last = size
		}
	})
}
