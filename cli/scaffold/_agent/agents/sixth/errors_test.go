package sixth

import (
	"errors"
	"testing"

	"github.com/offsite-backup/offsite/conformance/prove"
	"github.com/offsite-backup/offsite/core"
)

// What the provider answers has a kind: a row for each code and status that it has.
func TestKinds(t *testing.T) {
	for _, row := range []struct {
		err  error
		want core.ErrorKind
	}{
		{nil, ""},
		{errors.New("connection reset"), core.ErrUnavailable},
		{core.Errorf(core.ErrDamaged, "not the bytes that were sent"), core.ErrDamaged},
	} {
		prove.Kind(t, "translated", translate(row.err), row.want)
	}
}
