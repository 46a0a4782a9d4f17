package client

// NormalInvitation reads an invitation and returns it as it is written.
func NormalInvitation(line string) (string, error) {
	i, err := parseInvitation(line)
	return i.String(), err
}

// CheapPassphrase makes scrypt cheap enough for tests.
func CheapPassphrase(config WalletConfig) WalletConfig {
	config.workFactor = 8
	return config
}
