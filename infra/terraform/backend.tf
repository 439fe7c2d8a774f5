# Where the state lies is told to `terraform init` by -backend-config (docs/aws.md): it is an account's own.
terraform {
  backend "s3" {}
}
