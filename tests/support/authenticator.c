/* A security key without hardware: a SecurityKeyProvider of OpenSSH's (sk-api.h, version 10) for tests.
 *
 * Key handles are private keys. What it says of itself stands in the environment, as numbers: AUTHENTICATOR_FLAGS
 * (1: touched, 4: verified; not set: what was asked for) and AUTHENTICATOR_COUNTER (not set: 1). OpenSSL's functions
 * are declared here, so that its library is needed and its headers are not. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct evp_pkey_st EVP_PKEY;
typedef struct evp_md_ctx_st EVP_MD_CTX;
typedef struct evp_md_st EVP_MD;
typedef struct bignum_st BIGNUM;
typedef struct ECDSA_SIG_st ECDSA_SIG;
EVP_PKEY *EVP_PKEY_Q_keygen(void *, const char *, const char *, ...);
void EVP_PKEY_free(EVP_PKEY *);
size_t EVP_PKEY_get1_encoded_public_key(EVP_PKEY *, unsigned char **);
int EVP_PKEY_get_raw_public_key(const EVP_PKEY *, unsigned char *, size_t *);
int i2d_PrivateKey(const EVP_PKEY *, unsigned char **);
EVP_PKEY *d2i_AutoPrivateKey(EVP_PKEY **, const unsigned char **, long);
EVP_MD_CTX *EVP_MD_CTX_new(void);
void EVP_MD_CTX_free(EVP_MD_CTX *);
int EVP_DigestSignInit(EVP_MD_CTX *, void **, const EVP_MD *, void *, EVP_PKEY *);
int EVP_DigestSign(EVP_MD_CTX *, unsigned char *, size_t *, const unsigned char *, size_t);
const EVP_MD *EVP_sha256(void);
unsigned char *SHA256(const unsigned char *, size_t, unsigned char *);
ECDSA_SIG *d2i_ECDSA_SIG(ECDSA_SIG **, const unsigned char **, long);
void ECDSA_SIG_get0(const ECDSA_SIG *, const BIGNUM **, const BIGNUM **);
void ECDSA_SIG_free(ECDSA_SIG *);
int BN_num_bits(const BIGNUM *);
int BN_bn2bin(const BIGNUM *, unsigned char *);

#define ECDSA 0
#define FAILED (-1)

struct sk_enroll_response {
	uint8_t flags;
	uint8_t *public_key;
	size_t public_key_len;
	uint8_t *key_handle;
	size_t key_handle_len;
	uint8_t *signature;
	size_t signature_len;
	uint8_t *attestation_cert;
	size_t attestation_cert_len;
	uint8_t *authdata;
	size_t authdata_len;
};

struct sk_sign_response {
	uint8_t flags;
	uint32_t counter;
	uint8_t *sig_r;
	size_t sig_r_len;
	uint8_t *sig_s;
	size_t sig_s_len;
};

static unsigned long said(const char *name, unsigned long otherwise)
{
	const char *text = getenv(name);
	return text == NULL ? otherwise : strtoul(text, NULL, 0);
}

uint32_t sk_api_version(void)
{
	return 0x000a0000;
}

int sk_enroll(uint32_t alg, const uint8_t *challenge, size_t challenge_len, const char *application, uint8_t flags,
    const char *pin, void **options, struct sk_enroll_response **out)
{
	EVP_PKEY *key = alg == ECDSA ? EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256")
	    : EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	struct sk_enroll_response *made = calloc(1, sizeof(*made));
	unsigned char *handle = NULL;
	int length;

	(void)challenge; (void)challenge_len; (void)application; (void)pin; (void)options;
	if (key == NULL || made == NULL || (length = i2d_PrivateKey(key, &handle)) <= 0)
		return FAILED;
	made->flags = flags;
	made->key_handle = handle;
	made->key_handle_len = (size_t)length;
	if (alg == ECDSA) {
		made->public_key_len = EVP_PKEY_get1_encoded_public_key(key, &made->public_key);
	} else {
		made->public_key_len = 32;
		made->public_key = malloc(32);
		EVP_PKEY_get_raw_public_key(key, made->public_key, &made->public_key_len);
	}
	made->signature = calloc(1, 64);  /* nobody attests anything */
	made->signature_len = 64;
	EVP_PKEY_free(key);
	*out = made;
	return 0;
}

static uint8_t *number(const BIGNUM *value, size_t *length)
{
	uint8_t *made = malloc(64);
	*length = (size_t)BN_bn2bin(value, made);
	return made;
}

int sk_sign(uint32_t alg, const uint8_t *data, size_t data_len, const char *application, const uint8_t *handle,
    size_t handle_len, uint8_t flags, const char *pin, void **options, struct sk_sign_response **out)
{
	struct sk_sign_response *made = calloc(1, sizeof(*made));
	const unsigned char *from = handle;
	EVP_PKEY *key = d2i_AutoPrivateKey(NULL, &from, (long)handle_len);
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	unsigned char message[32 + 1 + 4 + 32], signature[128];
	size_t length = sizeof(signature);

	(void)pin; (void)options;
	if (made == NULL || key == NULL || context == NULL)
		return FAILED;
	made->flags = (uint8_t)said("AUTHENTICATOR_FLAGS", flags & 5);
	made->counter = (uint32_t)said("AUTHENTICATOR_COUNTER", 1);
	SHA256((const unsigned char *)application, strlen(application), message);
	message[32] = made->flags;
	for (int i = 0; i < 4; i++)
		message[33 + i] = (unsigned char)(made->counter >> (24 - 8 * i));
	SHA256(data, data_len, message + 37);
	if (EVP_DigestSignInit(context, NULL, alg == ECDSA ? EVP_sha256() : NULL, NULL, key) != 1 ||
	    EVP_DigestSign(context, signature, &length, message, sizeof(message)) != 1)
		return FAILED;
	if (alg == ECDSA) {
		const BIGNUM *r, *s;
		from = signature;
		ECDSA_SIG *both = d2i_ECDSA_SIG(NULL, &from, (long)length);
		if (both == NULL)
			return FAILED;
		ECDSA_SIG_get0(both, &r, &s);
		made->sig_r = number(r, &made->sig_r_len);
		made->sig_s = number(s, &made->sig_s_len);
		ECDSA_SIG_free(both);
	} else {
		made->sig_r = malloc(length);
		memcpy(made->sig_r, signature, length);
		made->sig_r_len = length;
	}
	EVP_MD_CTX_free(context);
	EVP_PKEY_free(key);
	*out = made;
	return 0;
}

int sk_load_resident_keys(const char *pin, void **options, void ***keys, size_t *count)
{
	(void)pin; (void)options; (void)keys; (void)count;
	return FAILED;
}
