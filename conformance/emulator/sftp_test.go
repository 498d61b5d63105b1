package emulator

import "testing"

// A server that took the address of another is not taken for it.
func TestGreets(t *testing.T) {
	var both [2]*PkgSFTP
	for i := range both {
		var err error
		if both[i], err = StartPkgSFTP(t.Context(), t.TempDir()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(both[i].Stop)
	}
	if err := both[0].greets(t.Context()); err != nil {
		t.Error(err)
	}
	other := *both[0].SFTP
	other.Address = both[1].Address
	if err := other.greets(t.Context()); err == nil {
		t.Error("another server's key was taken for its own")
	}
}
