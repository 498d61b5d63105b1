package gcs

import "github.com/offsite-backup/offsite/conformance/emulator"

// emulated is the other server of this package's tests.
var emulated = emulator.Shared[*emulator.FakeGCSServer]{Start: emulator.StartFakeGCSServer}
