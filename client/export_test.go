package client

// CheapPassphrase makes scrypt cheap enough for tests.
func CheapPassphrase(config WalletConfig) WalletConfig {
	config.workFactor = 8
	return config
}
