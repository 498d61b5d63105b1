package core

import "log/slog"

// A Secret is a password, key or token. It prints, logs and marshals as
// "[secret]"; only Reveal gives it away. The zero Secret is none.
type Secret struct{ value string }

// NewSecret wraps a secret.
func NewSecret(value string) Secret { return Secret{value} }

const redacted = "[secret]"

// Reveal returns the secret itself, for the provider's SDK and nothing else.
func (s Secret) Reveal() string { return s.value }

// IsZero says whether there is none.
func (s Secret) IsZero() bool { return s.value == "" }

// String returns "[secret]".
func (s Secret) String() string { return redacted }

// GoString returns "[secret]".
func (s Secret) GoString() string { return redacted }

// MarshalText returns "[secret]".
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue returns "[secret]".
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }
