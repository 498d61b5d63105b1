package core

import "log/slog"

// A Secret is a password, key or token. It prints, logs and marshals as
// "[secret]"; only Reveal gives it away. The zero Secret is none.
//
// It is a pointer inside, because fmt prints what lies in an unexported field
// without asking its methods.
type Secret struct{ value *string }

// NewSecret wraps a secret; that of "" is none.
func NewSecret(value string) Secret {
	if value == "" {
		return Secret{}
	}
	return Secret{&value}
}

const redacted = "[secret]"

// Reveal returns the secret itself, for the provider's SDK and nothing else.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsZero says whether there is none.
func (s Secret) IsZero() bool { return s.value == nil }

// String returns "[secret]".
func (s Secret) String() string { return redacted }

// GoString returns "[secret]".
func (s Secret) GoString() string { return redacted }

// MarshalText returns "[secret]".
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue returns "[secret]".
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }
